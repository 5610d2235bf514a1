// Command report prints a table, scenario × server × outcome, from the lines that
// servers.Report wrote, on standard input. It fails where a scenario did not pass
// on a server that can do it.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// missing stands where a scenario was not reached on a server.
const missing = "not run"

type row struct{ group, scenario string }

// table is what was read: servers in the order of their first lines, rows by
// group and scenario.
type table struct {
	servers []string
	rows    []row
	cells   map[row]map[string]servers.Line
}

func run(in io.Reader, out io.Writer) error {
	t, err := read(in)
	if err != nil {
		return err
	}
	bad := t.print(out)
	if bad > 0 {
		return fmt.Errorf("%d outcomes are not ok", bad)
	}
	return nil
}

func read(in io.Reader) (table, error) {
	t := table{cells: map[row]map[string]servers.Line{}}
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		var line servers.Line
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return t, fmt.Errorf("a line is not servers.Report's: %w", err)
		}
		r := row{line.Group, line.Scenario}
		if t.cells[r] == nil {
			t.cells[r] = map[string]servers.Line{}
			t.rows = append(t.rows, r)
		}
		t.cells[r][line.Server] = line
		if !slices.Contains(t.servers, line.Server) {
			t.servers = append(t.servers, line.Server)
		}
	}
	slices.SortFunc(t.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.scenario, b.scenario))
	})
	if len(t.rows) == 0 {
		return t, errors.Join(errors.New("there is nothing to report"), scanner.Err())
	}
	return t, scanner.Err()
}

// print writes the table as Markdown and counts the cells that are not ok.
func (t table) print(out io.Writer) (bad int) {
	_, _ = fmt.Fprintf(out, "| | scenario | %s |\n|%s\n", strings.Join(t.servers, " | "), strings.Repeat(" --- |", 2+len(t.servers)))
	for _, r := range t.rows {
		cells := make([]string, len(t.servers))
		for i, server := range t.servers {
			line, reached := t.cells[r][server]
			if !reached {
				line.Outcome = missing
			}
			if line.Outcome != "ok" && line.Outcome != "cannot" && line.Outcome != servers.NotSo {
				bad++
			}
			cells[i] = line.Outcome
			if line.Found != "" {
				cells[i] += " (" + line.Found + ")"
			}
		}
		_, _ = fmt.Fprintf(out, "| %s | %s | %s |\n", r.group, r.scenario, strings.Join(cells, " | "))
	}
	return bad
}
