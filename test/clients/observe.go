package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// row is what came out for one client.
type row struct {
	scenario

	lives   string
	tries   int
	refused int
	why     string        // the first refusal
	tokens  int           // different ones that it showed
	least   time.Duration // the least life left of a token that it showed
	leases  int           // most at a time
	stats   iam.AccountStats
	remark  string
	err     error
}

// failure is what must not be.
func (r row) failure() error {
	name := r.client + ", " + r.mode
	switch {
	case r.err != nil:
		return fmt.Errorf("%s: %w", name, r.err)
	case r.refused > 0:
		return fmt.Errorf("%s: %d of %d calls were refused: %s", name, r.refused, r.tries, r.why)
	case r.stats.Sessions > 0:
		return fmt.Errorf("%s: %d sessions are left open", name, r.stats.Sessions)
	}
	return nil
}

// runAll runs all clients side by side.
func (w *world) runAll(ctx context.Context, chosen []scenario) []row {
	rows := make([]row, len(chosen))
	var all sync.WaitGroup
	for i, s := range chosen {
		all.Go(func() {
			rows[i] = w.observe(ctx, s)
			fmt.Printf("%s, %s: done\n", s.client, s.mode)
		})
	}
	all.Wait()
	return rows
}

// patience is how long a client may take to show its first token: it may have to
// be started beside twenty others.
const patience = 2 * time.Minute

func (w *world) observe(ctx context.Context, s scenario) row {
	r := row{scenario: s}
	at, err := w.prepare(ctx, s)
	if err != nil {
		r.err = err
		return r
	}
	client, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.start(client, at) }()
	if s.reads == "" {
		r.err = <-ended
		stop()
		r.remark = at.remark
		return r
	}
	r.lives = fmt.Sprintf("%d × %.0f s", w.lives, w.life.Seconds())
	r.err = at.call(ctx, &r, ended)
	stop()
	if r.err == nil {
		r.err = <-ended
	}
	at.awaitEnd(ctx, &r)
	r.remark = at.remark
	return r
}

// call calls the API once a second with the token that the client shows.
func (at *site) call(ctx context.Context, r *row, ended chan error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	begun := time.Now()
	var first time.Time
	seen := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("it ended before its time: %w", err)
		case <-tick.C:
		}
		token, now := at.shown(), time.Now()
		switch {
		case first.IsZero() && token != "":
			first = now
		case first.IsZero() && now.Sub(begun) > patience:
			return fmt.Errorf("it showed no token within %s", patience)
		case !first.IsZero() && now.Sub(first) > time.Duration(at.lives)*at.life:
			r.tokens = len(seen)
			return nil
		}
		if token == "" {
			continue
		}
		if left := expiry(token).Sub(now); len(seen) == 0 || left < r.least {
			r.least = left
		}
		seen[token] = true
		at.try(ctx, r, token)
		if r.tries%3 == 0 {
			r.leases = max(r.leases, at.countLeases(ctx))
		}
	}
}

// try is one call of the API, and another one where the client has shown a new
// token while the call was under way.
func (at *site) try(ctx context.Context, r *row, token string) {
	status, answer, err := at.ping(ctx, token)
	if now := at.shown(); status == http.StatusUnauthorized && now != token {
		if now == "" {
			return
		}
		status, answer, err = at.ping(ctx, now)
	}
	r.tries++
	if err == nil && status == http.StatusOK {
		return
	}
	r.refused++
	if r.why == "" {
		r.why = fmt.Sprintf("try %d: %d %s %v", r.tries, status, answer, err)
	}
}

func (at *site) ping(ctx context.Context, token string) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	path, headers := "/api/panta/ping", map[string]string{"Authorization": "Bearer " + token, "X-CLIENT-ID": iam.DemoPantaTenant}
	if at.pat {
		if at.isDeleted(token) {
			return http.StatusUnauthorized, "its owner deleted it", nil
		}
		path, headers = "/api/ocp/nlu/ping", map[string]string{"X-OCP-PERSONAL-ACCESS-TOKEN": token}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.url+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(body)), err
}

func (at *site) countLeases(ctx context.Context) int {
	list, err := at.root.Logical().ListWithContext(ctx, "sys/leases/lookup/"+at.path)
	if err != nil || list == nil {
		return 0
	}
	keys, _ := list.Data["keys"].([]any)
	return len(keys)
}

// awaitEnd waits until the client's user has no session any more: for the last
// lease or, without leases, for the last token that was read.
func (at *site) awaitEnd(ctx context.Context, r *row) {
	begun := time.Now()
	for {
		r.stats = at.emulator.AccountStats(realm, at.name())
		if r.stats.Sessions == 0 || time.Since(begun) > at.life+15*time.Second || !wait(ctx, 100*time.Millisecond) {
			return
		}
	}
}

// expiry is when a JWT expires, whoever signed it.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}
