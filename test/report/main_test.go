package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheTableShowsEveryScenarioOnEveryServerAndFailsForWhatIsNotOK(t *testing.T) {
	var out strings.Builder
	err := run(strings.NewReader(`{"server":"26.4.7","group":"limit","scenario":"a","outcome":"ok","found":"6 of 12"}
{"server":"26.4.7","group":"rotation","scenario":"b","outcome":"FAILED"}
{"server":"26.7.0","group":"limit","scenario":"c","outcome":"ok"}
{"server":"26.7.0","group":"rotation","scenario":"b","outcome":"ok"}
`), &out)
	require.EqualError(t, err, "3 outcomes are not ok")
	require.Equal(t, `| | scenario | 26.4.7 | 26.7.0 |
| --- | --- | --- | --- |
| limit | a | ok (6 of 12) | not run |
| limit | c | not run | ok |
| rotation | b | FAILED | ok |
`, out.String())
}

func TestAllIsWellWhereEverythingIsOK(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(strings.NewReader(`{"server":"26.4.7","group":"limit","scenario":"a","outcome":"ok"}`), &out))
	require.Contains(t, out.String(), "| limit | a | ok |")
}

func TestNothingToReportIsAFailure(t *testing.T) {
	require.Error(t, run(strings.NewReader(""), &strings.Builder{}))
	require.Error(t, run(strings.NewReader("no JSON\n"), &strings.Builder{}))
}
