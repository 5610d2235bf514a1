package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// table is the rows as Markdown, with what was remarked below it.
func table(rows []row) string {
	cells := [][]string{{
		"client", "mode", "token lives", "tries", "refused", "left open",
		"tokens", "least life left", "logins", "most sessions", "most leases",
	}}
	var remarks strings.Builder
	for _, r := range rows {
		line := []string{r.client, r.mode, r.lives}
		switch {
		case r.err != nil:
			line = append(line, "FAILED")
		case r.reads == "":
			line = append(line, "ok")
		case r.pat:
			line = append(line, strconv.Itoa(r.tries), strconv.Itoa(r.refused), "–", strconv.Itoa(r.tokens), "–", "–", "–", strconv.Itoa(r.leases))
		default:
			line = append(line, strconv.Itoa(r.tries), strconv.Itoa(r.refused), strconv.Itoa(r.stats.Sessions), strconv.Itoa(r.tokens),
				fmt.Sprintf("%.1f s", r.least.Seconds()), strconv.Itoa(r.stats.Logins), strconv.Itoa(r.stats.PeakSessions), strconv.Itoa(r.leases))
		}
		cells = append(cells, line)
		if r.remark != "" {
			fmt.Fprintf(&remarks, "- %s, %s: %s\n", r.client, r.mode, r.remark)
		}
	}
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var out strings.Builder
	for n, line := range cells {
		for i, width := range widths {
			cell := ""
			if i < len(line) {
				cell = line[i]
			}
			out.WriteString("| " + cell + strings.Repeat(" ", width-len([]rune(cell))+1))
		}
		out.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				out.WriteString("| " + strings.Repeat("-", width) + " ")
			}
			out.WriteString("|\n")
		}
	}
	return "\n" + out.String() + "\n" + remarks.String()
}

const (
	docBegin = "<!-- written by make test-clients: begin -->\n"
	docEnd   = "<!-- written by make test-clients: end -->\n"
)

// writeDoc puts the table between the markers of a document.
func writeDoc(file string, rows []row) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(old), docBegin)
	_, after, ends := strings.Cut(rest, docEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no markers to write between", file)
	}
	return os.WriteFile(file, []byte(before+docBegin+table(rows)+"\n"+docEnd+after), 0o600)
}
