package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// suite is the tests of one package, and what they did on the sound program.
type suite struct {
	path, dir string
	searches  bool // it draws random histories (pgregory.net/rapid)
	tests     []*test
	binary    string // with all mistakes that are built together

	mu    sync.Mutex
	sound map[string]bool // tests that have failed, by name: not without a mistake
}

// test is one test and what it did on the sound program.
type test struct {
	name    string
	took    time.Duration
	covered map[string][]stretch // by file, as the coverage profile names it
}

// stretch is lines of a file that a test ran.
type stretch struct{ from, to int }

// slowTest is how long a test may take to be run with the quick ones, which are most and
// find most.
const slowTest = 50 * time.Millisecond

// suitesFor returns the suites whose tests depend on any of the packages.
// Those of folders that need real servers are left out.
func (m *module) suitesFor(packages []*pkg, without []string, scratch string) []*suite {
	var all []*suite
	for path, deps := range m.tests {
		folder := strings.TrimPrefix(path, m.path+"/")
		if slices.ContainsFunc(without, func(w string) bool { return folder == w || strings.HasPrefix(folder, w+"/") }) {
			continue
		}
		if slices.ContainsFunc(packages, func(p *pkg) bool { return deps[p.path] }) {
			all = append(all, &suite{
				path: path, dir: m.listed[path].Dir, searches: deps["pgregory.net/rapid"], sound: map[string]bool{},
				binary: filepath.Join(scratch, strings.ReplaceAll(path, "/", "_")),
			})
		}
	}
	slices.SortFunc(all, func(a, b *suite) int { return strings.Compare(a.path, b.path) })
	return all
}

// build compiles a suite. The overlay is a file for the go command; empty: none.
func (s *suite) build(ctx context.Context, overlay, binary string, more ...string) error {
	args := append([]string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-o", binary}, more...)
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	out, err := exec.CommandContext(ctx, "go", append(args, s.path)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s does not compile: %w\n%s", s.path, err, out)
	}
	return nil
}

// memory is what a suite may take: a mistake may make a loop endless. In KB, of
// addresses, of which Go reserves more than it uses.
const memory = 6 << 20

// run runs tests of a compiled suite with one of the mistakes that are in it; 0: with
// none.
func (s *suite) run(ctx context.Context, binary string, number int, limit time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if s.searches {
		// The same histories each time, and no files about those that fail.
		args = append(args, "-rapid.seed=1", "-rapid.nofailfile")
	}
	script := `ulimit -v ` + strconv.Itoa(memory) + ` 2>/dev/null; exec "$@"`
	command := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh", binary}, args...)...)
	command.Dir = s.dir
	command.Env = append(os.Environ(), environment+"="+strconv.Itoa(number))
	return command.CombinedOutput()
}

// measure runs each test of the suite on the sound program: it must pass, and tells how
// long it takes and which lines it covers.
func (s *suite) measure(ctx context.Context, packages []*pkg) error {
	binary := s.binary + "_cover"
	paths := make([]string, len(packages))
	for i, p := range packages {
		paths[i] = p.path
	}
	if err := s.build(ctx, "", binary, "-cover", "-coverpkg="+strings.Join(paths, ",")); err != nil {
		return err
	}
	defer func() { _ = os.Remove(binary) }()
	out, err := s.run(ctx, binary, 0, time.Minute, "-test.list=.")
	if err != nil {
		return fmt.Errorf("the tests of %s cannot be listed: %w\n%s", s.path, err, out)
	}
	for _, name := range listedTest.FindAllString(string(out), -1) {
		t := &test{name: name}
		s.tests = append(s.tests, t)
		if err := s.measureTest(ctx, binary, t); err != nil {
			return err
		}
	}
	return nil
}

var (
	listedTest = regexp.MustCompile(`(?m)^(Test|Example|Fuzz)\w*$`)
	passedTest = regexp.MustCompile(`(?m)^--- (?:PASS|SKIP): \S+ \(([0-9.]+s)\)$`)
)

func (s *suite) measureTest(ctx context.Context, binary string, t *test) error {
	profile := binary + "." + t.name
	measured := func() ([]byte, error) {
		return s.run(ctx, binary, 0, 10*time.Minute, only(t.name), "-test.v", "-test.coverprofile="+profile)
	}
	out, err := measured()
	if err != nil { // once more: it may depend on how busy the machine is
		out, err = measured()
	}
	if err != nil {
		return fmt.Errorf("the tests of %s fail without any mistake: %w\n%s", s.path, err, ending(out))
	}
	if passed := passedTest.FindSubmatch(out); passed != nil {
		t.took, _ = time.ParseDuration(string(passed[1]))
	}
	data, err := os.ReadFile(profile)
	if err != nil {
		return err
	}
	t.covered = coverage(data)
	return os.Remove(profile)
}

// isSound says that a test that has failed with a mistake does not fail without one: in
// the program that holds all mistakes it may (it counts allocations, say), or where the
// machine is busy.
func (s *suite) isSound(ctx context.Context, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.sound[name]; ok {
		return known
	}
	_, err := s.run(ctx, s.binary, 0, 10*time.Minute, only(name))
	if ctx.Err() == nil {
		s.sound[name] = err == nil
	}
	return err == nil
}

// isUnsound says that a test is known to fail without a mistake.
func (s *suite) isUnsound(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.sound[name]
	return ok && !known
}

// only is the flag that runs some tests.
func only(names ...string) string { return "-test.run=^(" + strings.Join(names, "|") + ")$" }

// ending is the end of a test's output, which says what failed.
func ending(out []byte) []byte {
	const most = 8 << 10
	return out[max(0, len(out)-most):]
}

var block = regexp.MustCompile(`^(\S+):(\d+)\.\d+,(\d+)\.\d+ \d+ (\d+)$`)

// coverage reads a coverage profile.
func coverage(profile []byte) map[string][]stretch {
	covered := map[string][]stretch{}
	for line := range strings.Lines(string(profile)) {
		found := block.FindStringSubmatch(strings.TrimSpace(line))
		if found == nil || found[4] == "0" {
			continue
		}
		from, _ := strconv.Atoi(found[2])
		to, _ := strconv.Atoi(found[3])
		covered[found[1]] = append(covered[found[1]], stretch{from, to})
	}
	return covered
}

// covers says whether the test runs the line of a mistake. What is in no function is a
// declaration, which may matter anywhere in the package.
func (t *test) covers(m *mutant) bool {
	if m.function == nil {
		return slices.ContainsFunc(m.pkg.files, func(f *file) bool { return len(t.covered[m.pkg.path+"/"+filepath.Base(f.path)]) > 0 })
	}
	line := m.file.pos.Line(m.ran)
	return slices.ContainsFunc(t.covered[m.pkg.path+"/"+filepath.Base(m.file.path)], func(at stretch) bool {
		return at.from <= line && line <= at.to
	})
}

// verdict is what the tests said about a mistake.
type verdict int

const (
	survived   verdict = iota // no test failed
	uncovered                 // no test runs the line
	found                     // a test failed
	hung                      // a test did not end in time, or took all memory
	unbuilt                   // it does not compile after all
	unfinished                // the time was over
)

// attempt is a mistake and what became of it.
type attempt struct {
	*mutant
	verdict verdict
	by      string // the test that found it
}

// worker tries one mistake after another.
type worker struct {
	suites   []*suite
	scratch  string            // a folder of its own
	builtFor *mutant           // what built holds
	built    map[*suite]string // suites with a mistake that is built alone
}

// try runs the tests that cover a mistake, cheapest first, until one fails.
func (w *worker) try(ctx context.Context, m *mutant) attempt {
	a := attempt{mutant: m, verdict: uncovered}
	for _, s := range w.stages(m) {
		binary, err := w.binaryOf(ctx, s.suite, m)
		if err != nil {
			a.verdict, a.by = unbuilt, err.Error()
			break
		}
		if a.verdict, a.by = s.try(ctx, binary, m.number); a.verdict != survived {
			break
		}
	}
	if ctx.Err() != nil {
		a.verdict = unfinished
	}
	return a
}

// try runs the tests of a stage until one fails that can be believed.
func (s stage) try(ctx context.Context, binary string, number int) (verdict, string) {
	for {
		s.names = slices.DeleteFunc(s.names, s.isUnsound)
		if len(s.names) == 0 {
			return survived, ""
		}
		out, err := s.run(ctx, binary, number, 4*s.takes+20*time.Second, only(s.names...), "-test.failfast")
		if err == nil {
			return survived, ""
		}
		verdict, by := judge(err, out)
		if name, _, _ := strings.Cut(by, "/"); verdict == hung || !slices.Contains(s.names, name) || s.isSound(ctx, name) {
			return verdict, by
		}
	}
}

// binaryOf is a suite with a mistake in it; where that cannot be built together with
// others, it is built alone, once for each suite.
func (w *worker) binaryOf(ctx context.Context, s *suite, m *mutant) (string, error) {
	if m.number != 0 {
		return s.binary, nil
	}
	if w.builtFor != m {
		w.builtFor = m
		clear(w.built)
	}
	if w.built[s] != "" {
		return w.built[s], nil
	}
	wrong := filepath.Join(w.scratch, filepath.Base(m.file.path))
	if err := os.WriteFile(wrong, m.source(), 0o600); err != nil {
		return "", err
	}
	overlay, err := writeOverlay(map[string]string{m.file.path: wrong}, w.scratch)
	if err != nil {
		return "", err
	}
	w.built[s] = filepath.Join(w.scratch, "tests"+strconv.Itoa(len(w.built)))
	return w.built[s], s.build(ctx, overlay, w.built[s])
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// judge says how the tests failed, and the first of them.
func judge(err error, out []byte) (verdict, string) {
	by := "?"
	if name := failed.FindSubmatch(out); name != nil {
		by = string(name[1])
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return hung, by
	}
	return found, by
}

// stage is some tests of a suite that are run at once.
type stage struct {
	*suite

	names []string
	takes time.Duration
}

// stages are the tests that may find a mistake: first the quick ones of its own package,
// then those of the packages around it, then those of others, then the slow ones.
func (w *worker) stages(m *mutant) []stage {
	var quick, slow []stage
	for _, s := range w.suites {
		first := stage{suite: s}
		for _, t := range s.tests {
			switch {
			case !t.covers(m):
			case t.took > slowTest:
				slow = append(slow, stage{suite: s, takes: t.took, names: []string{t.name}})
			default:
				first.names = append(first.names, t.name)
				first.takes += t.took
			}
		}
		if len(first.names) > 0 {
			quick = append(quick, first)
		}
	}
	slices.SortStableFunc(quick, func(a, b stage) int {
		return cmp.Or(cmp.Compare(distance(a.path, m.pkg.path), distance(b.path, m.pkg.path)), cmp.Compare(a.takes, b.takes))
	})
	slices.SortStableFunc(slow, func(a, b stage) int { return cmp.Compare(a.takes, b.takes) })
	return slices.Concat(quick, slow)
}

// distance is how far a package is from one whose path begins with its own.
func distance(path, from string) int {
	if path != from && !strings.HasPrefix(from, path+"/") {
		return math.MaxInt
	}
	return len(from) - len(path)
}

// tryAll tries mistakes side by side and reports each when it is done.
func tryAll(ctx context.Context, mutants []*mutant, suites []*suite, workers int, scratch string, report func(attempt)) error {
	var mu sync.Mutex
	all := make([]*worker, workers)
	for i := range all {
		all[i] = &worker{suites: suites, scratch: filepath.Join(scratch, strconv.Itoa(i)), built: map[*suite]string{}}
		if err := os.Mkdir(all[i].scratch, 0o700); err != nil {
			return err
		}
	}
	inParallel(ctx, workers, len(mutants), func(worker, i int) {
		a := all[worker].try(ctx, mutants[i])
		mu.Lock()
		defer mu.Unlock()
		report(a)
	})
	return nil
}

// inParallel calls f for each of n tasks, some workers side by side. It begins none
// after ctx has ended.
func inParallel(ctx context.Context, workers, n int, f func(worker, task int)) {
	var all sync.WaitGroup
	var next atomic.Int64
	for worker := range workers {
		all.Go(func() {
			for task := int(next.Add(1)) - 1; task < n && ctx.Err() == nil; task = int(next.Add(1)) - 1 {
				f(worker, task)
			}
		})
	}
	all.Wait()
}
