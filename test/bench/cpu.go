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

// cpu is CPU time. Other work on the machine does not change it much.
type cpu struct{ vault, plugins time.Duration }

func (c cpu) total() float64 { return float64(c.vault + c.plugins) }

func (c cpu) minus(other cpu) cpu { return cpu{c.vault - other.vault, c.plugins - other.plugins} }

// cpuTime is what the Vault that lives in dir, and its plugins, have used up to
// now. 0 where there is no /proc.
func cpuTime(dir string) cpu {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var used cpu
	for _, line := range lines {
		words, err := os.ReadFile(line)
		if err != nil || !bytes.Contains(words, []byte(dir)) {
			continue // it may have ended meanwhile
		}
		whose := &used.vault
		if bytes.HasPrefix(words, []byte(filepath.Join(dir, "plugins"))) {
			whose = &used.plugins
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
				*whose += time.Duration(ticks) * clockTick
			}
		}
	}
	return used
}
