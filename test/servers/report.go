package servers

import (
	"cmp"
	"encoding/json"
	"os"
	"testing"
)

// Line is a scenario's outcome on one server, as it stands in the file that the
// environment variable REPORT names: a JSON object each line. test/report makes a
// table of them.
type Line struct {
	Server   string `json:"server"` // a release of Keycloak, "emulator", or another server's name
	Group    string `json:"group"`
	Scenario string `json:"scenario"`
	Outcome  string `json:"outcome"` // "ok", "cannot", NotSo, "FAILED" or "skipped"
	Found    string `json:"found,omitempty"`
}

// NotSo is the outcome of a scenario that is not about this server.
const NotSo = "–"

// Row is a line that is written at the end of its test.
type Row struct {
	found  string
	cannot bool
	notSo  bool
}

// Found adds what was seen, such as a count.
func (r *Row) Found(what string) { r.found = what }

// Cannot says why the server cannot do this, which is no failure.
func (r *Row) Cannot(reason string) { r.found, r.cannot = reason, true }

// NotSo says that the scenario is not about this server.
func (r *Row) NotSo() { r.notSo = true }

// Report has a scenario stand in the table that make test-keycloak prints, with
// the outcome of this test. Without REPORT in the environment it does nothing.
func Report(tb testing.TB, group, scenario string) *Row {
	tb.Helper()
	return ReportOn(tb, cmp.Or(os.Getenv("KEYCLOAK"), "emulator"), group, scenario)
}

// ReportOn is Report for a server of that name.
func ReportOn(tb testing.TB, server, group, scenario string) *Row {
	tb.Helper()
	row := &Row{}
	file := os.Getenv("REPORT")
	if file == "" {
		return row
	}
	line := Line{Server: server, Group: group, Scenario: scenario}
	tb.Cleanup(func() {
		line.Found = row.found
		switch {
		case tb.Failed():
			line.Outcome = "FAILED"
		case row.cannot:
			line.Outcome = "cannot"
		case tb.Skipped():
			line.Outcome = "skipped"
		case row.notSo:
			line.Outcome = NotSo
		default:
			line.Outcome = "ok"
		}
		if err := appendLine(file, line); err != nil {
			tb.Error(err)
		}
	})
	return row
}

func appendLine(file string, line Line) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
