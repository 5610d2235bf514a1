// Command mutate tells how much the tests notice. It plants one small mistake
// after another in packages of this module (an operator swapped, a condition
// turned, a statement left out, a result changed, a number off by one), runs the
// tests that cover it, also those of other packages, and lists the mistakes that
// no test found.
//
//	go run ./tools/mutate [flags] sessions/machine sessions
//
// The mistakes are never in the working tree: the go command takes them as an
// overlay. Which lines each test covers is measured first. Tests run without the race
// detector, the cheapest first.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"os/signal"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	sample     int
	seed       uint64
	limit      time.Duration
	workers    int
	least      float64
	without    string
	equivalent string
	only       string
	verbose    bool
	folders    []string
}

func main() {
	var o options
	flag.IntVar(&o.sample, "sample", 0, "how many mistakes to try, drawn by -seed; 0: all")
	flag.Uint64Var(&o.seed, "seed", 1, "decides which")
	flag.DurationVar(&o.limit, "limit", 0, "begin no further mistake after this time; 0: no limit")
	flag.IntVar(&o.workers, "workers", runtime.NumCPU(), "how many to try side by side")
	flag.Float64Var(&o.least, "least", 0, "fail if fewer percent were found")
	flag.StringVar(&o.without, "without", "test,tools,cmd,internal", "`folders` whose tests are not run")
	flag.StringVar(&o.equivalent, "equivalent", "tools/mutate/equivalent.txt", "`file` with mistakes that change nothing")
	flag.StringVar(&o.only, "only", "", "try only mistakes whose line, as it is printed, contains this")
	flag.BoolVar(&o.verbose, "v", false, "print also what was found, and by which test")
	flag.Parse()
	o.folders = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	if len(o.folders) == 0 {
		return errors.New("name the packages to make mistakes in, as folders")
	}
	scratch, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	m, err := load(ctx)
	if err != nil {
		return err
	}
	packages := make([]*pkg, len(o.folders))
	for i, folder := range o.folders {
		if packages[i], err = m.open(folder); err != nil {
			return err
		}
	}
	harmless, err := readEquivalent(o.equivalent)
	if err != nil {
		return err
	}
	all := mutantsIn(packages)
	if err := knows(all, harmless, o.folders); err != nil {
		return fmt.Errorf("%s: %w", o.equivalent, err)
	}
	suites := m.suitesFor(packages, strings.Split(o.without, ","), scratch)
	chosen := choose(all, o)
	overlay, err := together(chosen, scratch)
	if err != nil {
		return err
	}
	failures := make([]error, len(suites))
	inParallel(ctx, o.workers, len(suites), func(_, i int) {
		s := suites[i]
		if failures[i] = s.build(ctx, overlay, s.binary); failures[i] == nil {
			failures[i] = s.measure(ctx, packages)
		}
	})
	if err := cmp.Or(errors.Join(failures...), ctx.Err()); err != nil {
		return err
	}
	for _, s := range suites {
		fmt.Fprintf(out, "%s: %d tests\n", strings.TrimPrefix(s.path, m.path+"/"), len(s.tests))
	}
	fmt.Fprintf(out, "%d mistakes to try\n", len(chosen))
	if o.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.limit)
		defer cancel()
	}
	t := &outcomes{out: out, harmless: harmless, verbose: o.verbose, counted: map[verdict]int{}}
	if err := tryAll(ctx, chosen, suites, o.workers, scratch, t.add); err != nil {
		return err
	}
	return t.conclude(len(chosen), o.least)
}

func mutantsIn(packages []*pkg) (all []*mutant) {
	for _, p := range packages {
		all = append(all, mutantsOf(p)...)
	}
	slices.SortFunc(all, byPlace)
	return all
}

// knows refuses a list of harmless mistakes that has one which cannot be made any more:
// its code was changed, and its reason may be gone.
func knows(all []*mutant, harmless map[string]string, folders []string) error {
	made := map[string]bool{}
	for _, m := range all {
		made[m.key()] = true
	}
	for _, key := range slices.Sorted(maps.Keys(harmless)) {
		file, _, _ := strings.Cut(key, ": ")
		if !made[key] && slices.Contains(folders, path.Dir(file)) {
			return fmt.Errorf("there is no such mistake: %s", key)
		}
	}
	return nil
}

// choose draws the sample from every mistake that compiles. It goes by their texts, so
// that a change of the code leaves the rest of a sample as it was.
func choose(all []*mutant, o options) []*mutant {
	all = slices.DeleteFunc(slices.Clone(all), func(m *mutant) bool { return !strings.Contains(m.key(), o.only) })
	if o.sample > 0 {
		ranks := make(map[*mutant]uint64, len(all))
		for _, m := range all {
			h := fnv.New64a()
			fmt.Fprintln(h, o.seed, m.key())
			ranks[m] = h.Sum64()
		}
		slices.SortStableFunc(all, func(x, y *mutant) int { return cmp.Compare(ranks[x], ranks[y]) })
	}
	var chosen []*mutant
	for _, m := range all {
		if o.sample > 0 && len(chosen) == o.sample {
			break
		}
		if m.pkg.compiles(m) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// outcomes counts and prints what became of the mistakes.
type outcomes struct {
	out      io.Writer
	harmless map[string]string // why a mistake changes nothing, by its key
	verbose  bool
	counted  map[verdict]int
	equal    int
}

func (t *outcomes) add(a attempt) {
	at := fmt.Sprintf("%s:%d", a.file.name, a.line())
	switch a.verdict {
	case found, hung:
		if t.verbose {
			fmt.Fprintf(t.out, "found     %s: %s (%s)\n", at, a.what(), a.by)
		}
	case survived, uncovered:
		if reason, ok := t.harmless[a.key()]; ok {
			t.equal++
			if t.verbose {
				fmt.Fprintf(t.out, "harmless  %s: %s (%s)\n", at, a.what(), reason)
			}
			return
		}
		fmt.Fprintf(t.out, "%-9s %s: %s\n", map[verdict]string{survived: "survived", uncovered: "uncovered"}[a.verdict], at, a.what())
	case unbuilt:
		fmt.Fprintf(t.out, "unbuilt   %s: %s\n%s\n", at, a.what(), a.by)
	case unfinished:
	}
	t.counted[a.verdict]++
}

func (t *outcomes) conclude(chosen int, least float64) error {
	caught := t.counted[found] + t.counted[hung]
	missed := t.counted[survived] + t.counted[uncovered]
	if caught+missed == 0 {
		return errors.New("no mistake was tried")
	}
	percent := 100 * float64(caught) / float64(caught+missed)
	fmt.Fprintf(t.out, "%d of %d mistakes found, %.1f %% (%d by a hang); %d survived, %d of them on lines that no test runs; %d more change nothing",
		caught, caught+missed, percent, t.counted[hung], missed, t.counted[uncovered], t.equal)
	if untried := chosen - caught - missed - t.equal - t.counted[unbuilt]; untried > 0 {
		fmt.Fprintf(t.out, "; %d were not tried in time", untried)
	}
	fmt.Fprintln(t.out)
	if percent < least {
		return fmt.Errorf("%.1f %% are found, at least %.1f are wanted", percent, least)
	}
	return nil
}

// readEquivalent reads the list of mistakes that change nothing. Each is a line
// as it is printed, without the number, below a line with the reason:
//
//	# the reason
//	sessions/machine/due.go: old => new
func readEquivalent(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	harmless, reason := map[string]string{}, ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(line, "# "); ok {
			reason = comment
		} else if line != "" {
			harmless[line] = reason
		}
	}
	return harmless, nil
}
