package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// clients is how many read at once.
const clients = 16

// load is what one round of reads gave.
type load struct {
	reads      int
	bytes      int // of one answer
	throughput float64
	waits      []time.Duration // sorted
	cpu        cpu
}

// percentile returns the wait that so many percent did not exceed.
func (l load) percentile(p int) time.Duration { return l.waits[(len(l.waits)-1)*p/100] }

// reader reads one path of Vault as applications do: over HTTP, on a connection
// that is kept.
type reader struct {
	url, token string
	client     *http.Client
}

func newReader(addr, token, path string, connections int) reader {
	transport := &http.Transport{MaxIdleConnsPerHost: connections}
	return reader{url: addr + "/v1/" + path, token: token, client: &http.Client{Transport: transport, Timeout: time.Minute}}
}

func (r reader) close() { r.client.CloseIdleConnections() }

// read makes one request and returns the size of its answer.
func (r reader) read(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Vault-Token", r.token)
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return 0, fmt.Errorf("%s answered %s: %s", r.url, resp.Status, text)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	return int(n), err
}

// drive reads with so many clients at once, each as often as it can until the
// time is over, at least once.
func (r reader) drive(ctx context.Context, clients int, d time.Duration) (load, error) {
	type part struct {
		waits []time.Duration
		bytes int
		err   error
	}
	parts := make([]part, clients)
	begin := time.Now()
	var all sync.WaitGroup
	for i := range parts {
		all.Go(func() {
			p := &parts[i]
			for p.err == nil && (len(p.waits) == 0 || time.Since(begin) < d) {
				start := time.Now()
				p.bytes, p.err = r.read(ctx)
				p.waits = append(p.waits, time.Since(start))
			}
		})
	}
	all.Wait()
	took := time.Since(begin)

	var l load
	for _, p := range parts {
		if p.err != nil {
			return load{}, p.err
		}
		l.waits = append(l.waits, p.waits...)
		l.bytes = p.bytes
	}
	slices.Sort(l.waits)
	l.reads = len(l.waits)
	l.throughput = float64(l.reads) / took.Seconds()
	return l, nil
}

func median[T int | float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
