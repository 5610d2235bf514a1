package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// document holds the figures of the last run, between two marks.
const (
	document = "docs/benchmarks.md"
	opening  = "<!-- make bench writes from here on -->"
	closing  = "<!-- to here -->"
)

// row is one line of the table of figures.
type row struct {
	what, figure, target string
	missed               bool
}

// report is everything that was measured.
type report struct {
	server  string // "Vault 1.21.0"
	ratios  []row  // of one thing to another in the same run
	others  []row
	reads   [][]string
	profile [][]string
	notes   []string
}

// atLeast is a figure with a lower bound.
func atLeast(target, value float64, format, what string) row {
	return row{what, fmt.Sprintf(format, value), fmt.Sprintf("at least "+format, target), value < target}
}

// atMost is a figure with an upper bound.
func atMost(target, value float64, format, what string) row {
	return row{what, fmt.Sprintf(format, value), fmt.Sprintf("at most "+format, target), value > target}
}

func (r *report) bounded(rows ...row) { r.others = append(r.others, rows...) }

func (r *report) add(what, format string, args ...any) {
	r.others = append(r.others, row{what: what, figure: fmt.Sprintf(format, args...)})
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// The targets of reads: throughput and CPU time next to the null plugin's, and of
// reads without a lease next to those with one where a lease is a write to disk.
const (
	throughputTarget = 0.97
	cpuTarget        = 1.03
	leaselessTarget  = 2.5
)

func (r *report) addReads(k kinds, refreshes int, much effort) {
	r.ratios = append(r.ratios,
		atMost(cpuTarget, k.hot.cpuPerRead().total()/k.null.cpuPerRead().total(), "%.3f", "CPU time of Vault and plugin for a read of `creds/` to that for the null plugin"),
		atMost(cpuTarget, k.static.cpuPerRead().total()/k.nullStatic.cpuPerRead().total(), "%.3f", "CPU time of Vault and plugin for a read of `static-creds/` to that for the null plugin without a lease"),
		atLeast(throughputTarget, median(k.hot.ratios(k.null)), "%.3f", "reads of `creds/` of a shared session to those of a null plugin"),
		atLeast(throughputTarget, median(k.static.ratios(k.nullStatic)), "%.3f", "reads of `static-creds/` to those of a null plugin without a lease"),
		row{
			what:   "reads of `creds/` with a refresh every second to those of a null plugin",
			figure: fmt.Sprintf("%.3f", median(k.refreshing.ratios(k.null))),
		},
		row{
			what:   "reads of `creds/` to those of a null plugin as plugins are usually written, which asks Vault for its replication state at each read",
			figure: fmt.Sprintf("%.3f", median(k.hot.ratios(k.usual))),
		})
	for _, k := range []struct{ kind, floor *kind }{
		{k.null, k.null}, {k.usual, k.null}, {k.hot, k.null}, {k.refreshing, k.null}, {k.nullStatic, k.nullStatic}, {k.static, k.nullStatic},
	} {
		r.reads = append(r.reads, readsRow(k.kind, k.floor))
	}
	most := 0
	for _, k := range []*kind{k.null, k.usual, k.hot, k.refreshing} {
		for _, l := range k.loads {
			most = max(most, l.reads)
		}
	}
	r.note("%d clients read over HTTP on kept connections, each again as soon as it has its answer: %d rounds of %d s of each kind, in turns, "+
		"in changing order. Figures are medians of the rounds. Before each round all leases are revoked; none had more than %d.",
		clients, much.rounds, much.seconds, most)
	r.note("In the rounds with refreshes there were %d in %d s.", refreshes, much.rounds*much.seconds)
}

func readsRow(k, floor *kind) []string {
	ratios := k.ratios(floor)
	return []string{
		k.name, fmt.Sprintf("%.0f", k.throughput()), milliseconds(k.p99()),
		fmt.Sprintf("%.3f", median(ratios)), fmt.Sprintf("%.3f to %.3f", ratios[0], ratios[len(ratios)-1]),
		microseconds(k.cpuPerRead().vault), microseconds(k.cpuPerRead().plugins), fmt.Sprint(k.loads[0].bytes),
	}
}

func (r *report) addReadsOnDisk(k kinds) {
	r.ratios = append(r.ratios,
		atLeast(leaselessTarget, median(k.static.ratios(k.hot)), "%.2f", "raft storage: reads of `static-creds/` to those of `creds/`"),
		row{what: "raft storage: reads of `creds/` to those of a null plugin", figure: fmt.Sprintf("%.3f", median(k.hot.ratios(k.null)))},
		row{what: "raft storage: reads of `static-creds/` to those of a null plugin without a lease", figure: fmt.Sprintf("%.3f", median(k.static.ratios(k.nullStatic)))},
	)
	for _, k := range []struct{ kind, floor *kind }{{k.null, k.null}, {k.hot, k.null}, {k.nullStatic, k.nullStatic}, {k.static, k.nullStatic}} {
		k.kind.name += ", raft storage"
		r.reads = append(r.reads, readsRow(k.kind, k.floor))
	}
}

func (r *report) addColdReaders(floor, cold load, logins, staticLogins int) {
	r.bounded(atMost(1, float64(staticLogins), "%.0f", "1,000 cold readers of `static-creds/` over HTTP: logins"))
	r.note("A thousand readers at once, over HTTP, of an account that nobody is logged in to: %d login of %s, the 99th percentile of their waiting is %s. "+
		"Of the null plugin it is %s: so long does Vault itself take for a thousand leases that come at once.",
		logins, loginTime, milliseconds(cold.percentile(99)), milliseconds(floor.percentile(99)))
}

func (r *report) addProfiles(floor, plugin costs) {
	for _, name := range partNames() {
		if floor[name]+plugin[name] < 50*time.Nanosecond {
			continue
		}
		r.profile = append(r.profile, []string{name, microseconds(floor[name]), microseconds(plugin[name]), microseconds(plugin[name] - floor[name])})
	}
	total, other := floor.total(), plugin.total()
	r.profile = append(r.profile, []string{"all", microseconds(total), microseconds(other), microseconds(other - total)})
}

// addEngine takes what the Go benchmarks of the engine have measured.
func (r *report) addEngine(f figures, much effort) error {
	var missing []string
	get := func(name string) float64 {
		value, ok := f[name]
		if !ok {
			missing = append(missing, name)
		}
		return value
	}
	const hot = "HotAcquireAndRelease"
	const kilobyte, token = 1024, 700
	r.ratios = append(r.ratios, atMost(1.2, get("AThousandColdReaders-2 ratio"), "%.3f", "1,000 cold readers: the 99th percentile of their waiting to one login"))
	r.bounded(atMost(1, get("AThousandColdReaders-2 logins"), "%.0f", "1,000 cold readers: logins"))
	r.bounded(atMost(0, get(hot+" storage-ops/op")+get(hot+"-2 storage-ops/op"), "%g", "hot acquire and release: storage operations"))
	r.bounded(atMost(0, get(hot+" calls/op")+get(hot+"-2 calls/op"), "%g", "hot acquire and release: calls to the server"))
	r.bounded(atMost(5, max(get(hot+" allocs/op"), get(hot+"-2 allocs/op")), "%.0f", "hot acquire and release: allocations"))
	r.add("hot acquire and release: time on 1 core, on 2 cores", "%.0f ns, %.0f ns", get(hot+" ns/op"), get(hot+"-2 ns/op"))
	r.bounded(atMost(3, get("writes-of-a-dedicated-lease"), "%.0f", "dedicated lease: storage writes in its whole life"))
	r.bounded(atMost(kilobyte, get("Scale-2 B/session")-token, "%.0f B", "100,000 sessions of 10,000 accounts: memory of a session besides its refresh token"))
	r.add("the same with a refresh token of 700 bytes", "%.0f B", get("Scale-2 B/session"))
	r.add("the same after a restart", "%.0f B", get("Scale-2 B/session-restarted"))
	r.add("100,000 sessions: start-up from storage in memory", "%.1f s", get("Scale-2 s-start"))
	r.add("a reaper's pass with nothing due: account with 10 sessions, with 100,000", "%.0f ns, %.0f ns",
		get("TickWithNothingDue/sessions=10-2 ns/op"), get("TickWithNothingDue/sessions=100000-2 ns/op"))
	r.add("end of a token: with 10 leases, with 100,000", "%.1f µs, %.1f µs",
		get("LeasesEndAtTheirHorizon/leases=10-2 ns/op")/1000, get("LeasesEndAtTheirHorizon/leases=100000-2 ns/op")/1000)
	r.add("all decisions for a dedicated lease: beside 10 sessions, beside 100,000", "%.1f µs, %.1f µs",
		get("ADedicatedLease/sessions=10-2 ns/op")/1000, get("ADedicatedLease/sessions=100000-2 ns/op")/1000)
	for _, kind := range []struct{ path, name string }{{"creds/", "leases"}, {"static-creds/", "static"}} {
		day := fmt.Sprintf("a day of %d pods at `%s`, one OCP account", much.pods, kind.path)
		of := func(name string) float64 { return get(kind.name + "-" + name) }
		r.bounded(atMost(3, of("logins"), "%.0f", day+": logins"))
		r.add(day+": reads, refreshes, most sessions at once", "%.0f, %.0f, %.0f", of("reads"), of("refreshes"), of("peak-sessions"))
		r.add(day+": most leases at once, storage writes of the plugin", "%.0f, %.0f", of("peak-leases"), of("writes"))
	}
	if len(missing) > 0 {
		return errors.New("go test did not say: " + strings.Join(missing, ", "))
	}
	return nil
}

func (r *report) markdown(much effort, took time.Duration) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Measured on %s. Command: `make bench` with ROUNDS=%d ROUND_SECONDS=%d; it took %s.\n",
		host(r.server), much.rounds, much.seconds, took.Round(time.Second))
	p("| figure | measured | target | |")
	p("| --- | --- | --- | --- |")
	for _, line := range append(r.ratios, r.others...) {
		verdict := ""
		switch {
		case line.missed:
			verdict = "**missed**"
		case line.target != "":
			verdict = "met"
		}
		p("| %s | %s | %s | %s |", line.what, line.figure, line.target, verdict)
	}
	p("\n## Reads on a real Vault\n")
	table(p, []string{"read of", "reads/s", "p99", "ratio, median of the rounds", "from to", "CPU of Vault, µs", "CPU of the plugin, µs", "bytes of an answer"}, r.reads)
	for _, note := range r.notes {
		p("\n%s", note)
	}
	p("\n## Where a read's time goes in the plugin's process\n")
	p("CPU time of one read in µs, from CPU profiles of both plugins under the same load. The rest of a read's time is Vault's own.\n")
	table(p, []string{"part", "null plugin", "this plugin", "more"}, r.profile)
	return b.String()
}

func table(p func(string, ...any), head []string, rows [][]string) {
	p("| %s |", strings.Join(head, " | "))
	p("|%s", strings.Repeat(" --- |", len(head)))
	for _, cells := range rows {
		p("| %s |", strings.Join(cells, " | "))
	}
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func microseconds(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e3) }

// writeDocument puts the figures in their place.
func writeDocument(text string) error {
	path := filepath.FromSlash(document)
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), opening)
	_, after, closed := strings.Cut(rest, closing)
	if !found || !closed {
		return fmt.Errorf("%s has lost its marks: %s and %s", document, opening, closing)
	}
	return os.WriteFile(path, []byte(before+opening+"\n\n"+text+"\n"+closing+after), 0o600)
}
