package servers

import (
	"encoding/json"
	"os"
	"testing"
)

// Line is a scenario's outcome on one server, as it stands in the file that the
// environment variable REPORT names: a JSON object each line. make test-keycloak
// makes its table of them (test/report).
type Line struct {
	Server   string `json:"server"` // a release of Keycloak, or "emulator"
	Group    string `json:"group"`
	Scenario string `json:"scenario"`
	Outcome  string `json:"outcome"` // "ok", "FAILED" or "skipped"
	Found    string `json:"found,omitempty"`
}

// Row is a line that is written at the end of its test.
type Row struct{ found string }

// Found adds what was seen, such as a count.
func (r *Row) Found(what string) { r.found = what }

// Report has a scenario stand in the table that make test-keycloak prints, with
// the outcome of this test. Without REPORT in the environment it does nothing.
func Report(tb testing.TB, group, scenario string) *Row {
	tb.Helper()
	row := &Row{}
	file := os.Getenv("REPORT")
	if file == "" {
		return row
	}
	line := Line{Server: os.Getenv("KEYCLOAK"), Group: group, Scenario: scenario}
	if line.Server == "" {
		line.Server = "emulator"
	}
	tb.Cleanup(func() {
		line.Found = row.found
		switch {
		case tb.Failed():
			line.Outcome = "FAILED"
		case tb.Skipped():
			line.Outcome = "skipped"
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
