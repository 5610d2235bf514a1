package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of /proc/<pid>/stat, on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime is what all processes together have used that have a path below dir on
// their command line: Vault and its plugins. Other work on the machine does not
// count. 0 where there is no /proc.
func cpuTime(dir string) time.Duration {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var all time.Duration
	for _, line := range lines {
		words, err := os.ReadFile(line)
		if err != nil || !bytes.Contains(words, []byte(dir)) {
			continue // it may have ended meanwhile
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(line), "stat"))
		if err != nil {
			continue
		}
		// The second field is a name in parentheses, with spaces perhaps.
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		for _, i := range []int{11, 12} { // utime, stime
			if ticks, err := strconv.Atoi(fields[i]); err == nil {
				all += time.Duration(ticks) * clockTick
			}
		}
	}
	return all
}
