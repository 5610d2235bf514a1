package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// answers are the last of the load's reads, so that a run that failed can say
// what its readers were told.
type answers struct {
	last []answer
	next int // the oldest, once there are keptAnswers
}

const keptAnswers = 4096

// answer is what came of one read. Times are since the journal's begin.
type answer struct {
	asked, answered time.Duration
	name            string // the path
	told            string
}

func (a *answers) add(one answer) {
	if len(a.last) < keptAnswers {
		a.last = append(a.last, one)
		return
	}
	a.last[a.next] = one
	a.next = (a.next + 1) % keptAnswers
}

// since lists the reads that were answered after a moment, in order. Neighbours
// that were told the same are one line.
func (a *answers) since(begin time.Duration) []string {
	type run struct {
		first, last answer
		times       int
		slowest     time.Duration
	}
	runs := map[string]*run{} // the newest of each name
	var order []*run
	for i := range a.last {
		one := a.last[(a.next+i)%len(a.last)]
		if one.answered < begin {
			continue
		}
		r := runs[one.name]
		if r == nil || r.last.told != one.told {
			r = &run{first: one}
			runs[one.name] = r
			order = append(order, r)
		}
		r.last = one
		r.times++
		r.slowest = max(r.slowest, one.answered-one.asked)
	}
	lines := make([]string, len(order))
	for i, r := range order {
		lines[i] = fmt.Sprintf("%.3f s to %.3f s: %d × %s, the slowest in %s: %s",
			r.first.asked.Seconds(), r.last.answered.Seconds(), r.times, r.first.name, r.slowest.Round(time.Millisecond), r.last.told)
	}
	return lines
}

// told says what came of a read, without the token.
func told(secret *api.Secret, err error) string {
	var refused *api.ResponseError
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("%d %s", refused.StatusCode, strings.Join(refused.Errors, "; "))
	case err != nil:
		return err.Error()
	}
	if secret == nil {
		return "nothing"
	}
	return "a token, for " + (time.Duration(secret.LeaseDuration) * time.Second).String()
}

// account says everything that is known of what has happened since a moment: to
// the readers, at the identity server, and in the servers' logs.
func (l *load) account(since time.Time) string {
	begin := since.Sub(l.world.journal.begin)
	l.mu.Lock()
	read := l.answers.since(begin)
	l.mu.Unlock()
	if len(read) == 0 {
		read = []string{"no read was answered"}
	}
	asked := l.world.journal.since(begin)
	if len(asked) == 0 {
		asked = []string{"nothing"}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "since %.3f s readers were told:\n\t%s\n", begin.Seconds(), strings.Join(read, "\n\t"))
	fmt.Fprintf(&b, "the identity server was asked:\n\t%s\n", strings.Join(asked, "\n\t"))
	for _, v := range l.world.nodes {
		fmt.Fprintf(&b, "the end of the log of %s at %s:\n\t%s\n", v.Server, v.Addr, strings.Join(logEnd(v.Log), "\n\t"))
	}
	return b.String()
}

// logEnd returns the last lines of a log.
func logEnd(path string) []string {
	const most = 200
	file, err := os.Open(path)
	if err != nil {
		return []string{err.Error()}
	}
	defer file.Close()
	var lines []string
	scan := bufio.NewScanner(file)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		lines = append(lines, scan.Text())
		if len(lines) == 2*most {
			lines = append(lines[:0], lines[most:]...)
		}
	}
	return lines[max(0, len(lines)-most):]
}
