package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// suite is the tests of one package, and what they did on the sound program.
type suite struct {
	path, dir string
	searches  bool // it draws random histories (pgregory.net/rapid)
	quick     time.Duration
	slow      []string // tests that take long, run one by one after everybody's quick ones
	took      map[string]time.Duration
	covered   map[string][]stretch // by file, as the coverage profile names it
}

// stretch is lines of a file that the tests ran.
type stretch struct{ from, to int }

// slowTest is how long a test may take to be run with the quick ones.
const slowTest = time.Second

// suitesFor returns the suites whose tests depend on any of the packages.
// Those of folders that need real servers are left out.
func (m *module) suitesFor(packages []*pkg, without []string) []*suite {
	var all []*suite
	for path, deps := range m.tests {
		folder := strings.TrimPrefix(path, m.path+"/")
		if slices.ContainsFunc(without, func(w string) bool { return folder == w || strings.HasPrefix(folder, w+"/") }) {
			continue
		}
		if slices.ContainsFunc(packages, func(p *pkg) bool { return deps[p.path] }) {
			all = append(all, &suite{path: path, dir: m.listed[path].Dir, searches: deps["pgregory.net/rapid"]})
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

// run runs tests of a compiled suite, until one fails.
func (s *suite) run(ctx context.Context, binary string, limit time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if s.searches {
		// The same histories each time, and no files about those that fail.
		args = append(args, "-rapid.seed=1", "-rapid.nofailfile")
	}
	script := `ulimit -v ` + strconv.Itoa(memory) + ` 2>/dev/null; exec "$@"`
	command := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh", binary, "-test.failfast"}, args...)...)
	command.Dir = s.dir
	return command.CombinedOutput()
}

// measure runs the whole suite on the sound program: it must pass, and tells
// which test takes how long and which lines are covered.
func (s *suite) measure(ctx context.Context, scratch string, packages []*pkg) error {
	binary := filepath.Join(scratch, strings.ReplaceAll(s.path, "/", "_"))
	profile := binary + ".cover"
	paths := make([]string, len(packages))
	for i, p := range packages {
		paths[i] = p.path
	}
	if err := s.build(ctx, "", binary, "-cover", "-coverpkg="+strings.Join(paths, ",")); err != nil {
		return err
	}
	out, err := s.run(ctx, binary, 10*time.Minute, "-test.v", "-test.coverprofile="+profile)
	if err != nil {
		return fmt.Errorf("the tests of %s fail without any mistake: %w\n%s", s.path, err, failures(out))
	}
	s.time(out)
	data, err := os.ReadFile(profile)
	if err != nil {
		return err
	}
	s.covered = coverage(data)
	return os.Remove(binary)
}

var result = regexp.MustCompile(`^--- (?:PASS|FAIL): (\S+) \(([0-9.]+)s\)`)

// time reads how long each test took.
func (s *suite) time(out []byte) {
	s.took = map[string]time.Duration{}
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		found := result.FindStringSubmatch(scan.Text())
		if found == nil {
			continue
		}
		took, _ := time.ParseDuration(found[2] + "s")
		s.took[found[1]] = took
		if took > slowTest {
			s.slow = append(s.slow, found[1])
		} else {
			s.quick += took
		}
	}
	slices.SortFunc(s.slow, func(a, b string) int { return int(s.took[a] - s.took[b]) })
}

// failures is the end of a test's output, which says what failed.
func failures(out []byte) []byte {
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

// covers says whether the suite runs the line of a mistake. What is in no
// function is a declaration, which may matter anywhere in the package.
func (s *suite) covers(m *mutant) bool {
	if m.function == "" {
		for _, f := range m.pkg.files {
			if len(s.covered[m.pkg.path+"/"+filepath.Base(f.path)]) > 0 {
				return true
			}
		}
		return false
	}
	line := m.line()
	return slices.ContainsFunc(s.covered[m.pkg.path+"/"+filepath.Base(m.file.path)], func(at stretch) bool {
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
	suites  []*suite
	scratch string // a folder of its own
}

// try runs the tests that cover a mistake, cheapest first, until one fails.
func (w *worker) try(ctx context.Context, m *mutant) attempt {
	a := attempt{mutant: m, verdict: uncovered}
	overlay, err := w.write(m)
	if err != nil {
		return attempt{mutant: m, verdict: unbuilt, by: err.Error()}
	}
	binaries := map[*suite]string{}
	for _, s := range w.stages(m) {
		if binaries[s.suite] == "" {
			binary := filepath.Join(w.scratch, "tests"+strconv.Itoa(len(binaries)))
			if err := s.build(ctx, overlay, binary); err != nil {
				a.verdict, a.by = unbuilt, err.Error()
				break
			}
			binaries[s.suite] = binary
		}
		a.verdict = survived
		out, err := s.run(ctx, binaries[s.suite], 4*s.takes+20*time.Second, s.args...)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			a.verdict, a.by = judge(err, out)
			break
		}
	}
	if ctx.Err() != nil {
		a.verdict = unfinished
	}
	return a
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

// stage is a part of a suite that is run at once.
type stage struct {
	*suite

	args  []string
	takes time.Duration
}

// stages are the tests that may find a mistake: first the quick ones of its own
// package, then those of the others, then the slow ones.
func (w *worker) stages(m *mutant) []stage {
	var own, quick, slow []stage
	for _, s := range w.suites {
		if !s.covers(m) {
			continue
		}
		first := stage{suite: s, takes: s.quick, args: []string{"-test.skip=^(" + strings.Join(s.slow, "|") + ")$"}}
		if s.path == m.pkg.path {
			own = append(own, first)
		} else {
			quick = append(quick, first)
		}
		for _, name := range s.slow {
			slow = append(slow, stage{suite: s, takes: s.took[name], args: []string{"-test.run=^" + name + "$"}})
		}
	}
	byTime := func(a, b stage) int { return int(a.takes - b.takes) }
	slices.SortStableFunc(quick, byTime)
	slices.SortStableFunc(slow, byTime)
	return slices.Concat(own, quick, slow)
}

// write puts the mistake into an overlay for the go command.
func (w *worker) write(m *mutant) (overlay string, err error) {
	wrong := filepath.Join(w.scratch, filepath.Base(m.file.path))
	if err := os.WriteFile(wrong, m.source(), 0o600); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {m.file.path: wrong}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(w.scratch, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o600)
}

// tryAll tries mistakes side by side and reports each when it is done.
func tryAll(ctx context.Context, mutants []*mutant, suites []*suite, workers int, scratch string, report func(attempt)) error {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		next = make(chan *mutant)
	)
	for i := range workers {
		w := &worker{suites: suites, scratch: filepath.Join(scratch, strconv.Itoa(i))}
		if err := os.Mkdir(w.scratch, 0o700); err != nil {
			return err
		}
		all.Go(func() {
			for m := range next {
				a := w.try(ctx, m)
				mu.Lock()
				report(a)
				mu.Unlock()
			}
		})
	}
	for _, m := range mutants {
		select {
		case next <- m:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	all.Wait()
	return nil
}
