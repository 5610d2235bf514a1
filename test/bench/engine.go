package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// engineRun is one call of go test for benchmarks of the engine.
type engineRun struct{ pkg, pattern, time, cpu string }

// measureEngine runs the Go benchmarks of the engine, and its day of a thousand pods.
func measureEngine(ctx context.Context, much effort, r *report) error {
	hot, cold := "2s", "5x"
	if much.short {
		hot, cold = "100x", "1x"
	}
	found := figures{}
	for _, run := range []engineRun{
		{"./sessions", "^BenchmarkHotAcquireAndRelease$", hot, "1,2"},
		{"./sessions", "^BenchmarkAThousandColdReaders$", cold, "2"},
		{"./sessions", "^BenchmarkScale$", "1x", "2"},
		{"./sessions/machine", ".", "100x", "2"},
	} {
		out, err := goTest(ctx, run.pkg, "-run", "^$", "-bench", run.pattern, "-benchtime", run.time, "-cpu", run.cpu, "-benchmem")
		if err != nil {
			return err
		}
		found.readBenchmarks(out)
	}
	out, err := goTest(ctx, "./sessions", "-v", "-count=1", "-run", "^(TestADayOfMany|TestADedicatedLeaseCostsThreeWritesInItsWholeLife$)",
		"-args", "-pods", strconv.Itoa(much.pods))
	if err != nil {
		return err
	}
	found.readAttributes(out)
	return r.addEngine(found, much)
}

func goTest(ctx context.Context, pkg string, args ...string) ([]byte, error) {
	args = slices.Concat([]string{"test", module + strings.TrimPrefix(pkg, "./")}, args)
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return out, nil
}

// figures are measured values by name and unit: "HotAcquireAndRelease-2 ns/op".
// The number of CPUs is left out where it is one, as package testing does.
type figures map[string]float64

// readBenchmarks reads lines such as "BenchmarkX-2  100  12.3 ns/op  4 B/op".
func (f figures) readBenchmarks(out []byte) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(words[0], "Benchmark")
		for i := 2; i+1 < len(words); i += 2 {
			if value, err := strconv.ParseFloat(words[i], 64); err == nil {
				f[name+" "+words[i+1]] = value
			}
		}
	}
}

var attribute = regexp.MustCompile(`(?m)^=== ATTR  \w+ (\S+) (\d+)$`)

// readAttributes reads what tests have noted.
func (f figures) readAttributes(out []byte) {
	for _, match := range attribute.FindAllSubmatch(out, -1) {
		if value, err := strconv.ParseFloat(string(match[2]), 64); err == nil {
			f[string(match[1])] = value
		}
	}
}
