package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// table is the results as Markdown, aligned.
func table(results []*result) string {
	rows := [][]string{{"fault", "times", "opened", "closed", "found", "aged", "lost", "budget peak", "longest without service"}}
	for _, r := range results {
		peak, unserved := "–", "–"
		if r.budget > 0 {
			peak = fmt.Sprintf("%d of %d", r.peak, r.budget)
		}
		if r.unserved > 0 {
			unserved = fmt.Sprintf("%.1f s", r.unserved.Seconds())
		}
		rows = append(rows, []string{
			r.fault, strconv.Itoa(r.repetitions), strconv.Itoa(r.opened), strconv.Itoa(r.closed), strconv.Itoa(r.found),
			strconv.Itoa(r.aged), strconv.Itoa(r.lost), peak, unserved,
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var out strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			out.WriteString("| " + cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+1))
		}
		out.WriteString("|\n")
		if n == 0 {
			for i := range row {
				if i == 0 {
					out.WriteString("| " + strings.Repeat("-", widths[i]) + " ")
				} else {
					out.WriteString("| " + strings.Repeat("-", widths[i]-1) + ": ")
				}
			}
			out.WriteString("|\n")
		}
	}
	return out.String()
}

// remarks are what does not fit into a table.
func remarks(results []*result) string {
	var out strings.Builder
	for _, r := range results {
		fmt.Fprintf(&out, "\n%s\n\n", r.fault)
		for _, remark := range r.remarks {
			out.WriteString("- " + strings.Join(strings.Fields(remark), " ") + "\n")
		}
	}
	return out.String()
}

const (
	docBegin = "<!-- written by make chaos: begin -->\n"
	docEnd   = "<!-- written by make chaos: end -->\n"
)

// writeDoc puts the table between the markers of a document.
func writeDoc(o options, results []*result, took time.Duration) error {
	old, err := os.ReadFile(o.doc)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(old), docBegin)
	_, after, ends := strings.Cut(rest, docEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no markers to write between", o.doc)
	}
	text := fmt.Sprintf("`make chaos SEED=%d SOAK=%s`, %s, on %s: %s.\n\n%s%s",
		o.seed, o.soak, time.Now().UTC().Format(time.DateOnly), machine(), took.Round(time.Second), table(results), remarks(results))
	return os.WriteFile(o.doc, []byte(before+docBegin+"\n"+text+"\n"+docEnd+after), 0o600)
}

// machine says what the figures were measured on.
func machine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	memory, _ := os.ReadFile("/proc/meminfo")
	_, total, _ := strings.Cut(string(memory), "MemTotal:")
	kilobytes := 0
	_, _ = fmt.Sscan(total, &kilobytes)
	return fmt.Sprintf("%s/%s with %d cores and %d GB, Linux %s, %s",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), (kilobytes+1<<19)>>20, strings.TrimSpace(string(kernel)), runtime.Version())
}
