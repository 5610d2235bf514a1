package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// load reads credentials from many sides, uses them, revokes, or lets leases
// end. It never looks away: a token that does not work while its lease
// runs is a broken promise.
type load struct {
	world   *world
	readers sync.WaitGroup
	done    chan struct{}
	begin   time.Time

	mu       sync.Mutex
	reads    map[string]int           // by config
	last     map[string]time.Time     // success by config
	gaps     map[string]time.Duration // longest time between two
	refusals map[string]int           // by status and the beginning of the sentence
	answers  answers
	shared   seen
	broken   []string
}

// seen is what readers of the shared session have met with.
type seen struct {
	// sound is until when the newest token that they were given can still carry a
	// lease: the shortest lasts 1 s and ends 5 s before its token (rule 4).
	sound   time.Time
	refused int           // reads
	noticed int           // of them, such that were asked for before sound
	slowest time.Duration // read, answered or refused
}

// reader is one of the load.
type reader struct {
	config string // whose account it uses
	name   string // at creds/
	static bool   // at static-creds/: without a lease
}

func (r reader) path() string {
	if r.static {
		return "static-creds/" + r.name
	}
	return "creds/" + r.name
}

// allReaders are readers of every kind, with several of each.
func allReaders() []reader {
	var all []reader
	for range 3 {
		all = append(
			all,
			reader{config: "shared", name: "shared"},
			reader{config: "shared", name: "shared-role"},
			reader{config: "shared", name: "shared", static: true},
			reader{config: "dmo", name: "dmo"},
			reader{config: "dmo", name: "dmo"},
			reader{config: "dmo", name: "dmo-role"},
			reader{config: "eu1", name: "eu1"},
			reader{config: "eu1", name: "eu1", static: true},
			reader{config: "eu1", name: "eu1-own"},
		)
	}
	return all
}

// startLoad begins to read. Each reader has random numbers of its own.
func startLoad(ctx context.Context, w *world, readers []reader) *load {
	l := &load{
		world: w, done: make(chan struct{}), begin: time.Now(),
		reads: map[string]int{}, last: map[string]time.Time{}, gaps: map[string]time.Duration{}, refusals: map[string]int{},
	}
	for _, r := range readers {
		l.last[r.config] = l.begin
		random := rand.New(rand.NewPCG(w.random.Uint64(), w.random.Uint64()))
		l.readers.Go(func() {
			for l.goesOn(ctx) {
				l.read(ctx, r, random)
			}
		})
	}
	return l
}

func (l *load) goesOn(ctx context.Context) bool {
	select {
	case <-l.done:
		return false
	case <-ctx.Done():
		return false
	default:
		return true
	}
}

// stop ends the load and waits for the readers. Their last leases are left to
// end by themselves.
func (l *load) stop() {
	close(l.done)
	l.readers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for config := range l.last {
		l.served(config)
	}
}

// served notes that a config has given a token; with the lock held.
func (l *load) served(config string) {
	now := time.Now()
	l.gaps[config] = max(l.gaps[config], now.Sub(l.last[config]))
	l.last[config] = now
}

// read is one reader's turn.
func (l *load) read(ctx context.Context, r reader, random *rand.Rand) {
	client := l.world.clients[random.IntN(len(l.world.clients))]
	asked := time.Now()
	secret, err := client.Logical().ReadWithContext(ctx, servers.Mount+"/"+r.path())
	if err == nil && secret == nil {
		err = errors.New("an empty answer")
	}
	l.note(r, asked, secret, err)
	if err != nil {
		l.rest(ctx, between(random, 20*time.Millisecond, 100*time.Millisecond))
		return
	}
	lease := newHeld(r, secret, asked)
	l.use(ctx, lease)
	if r.static { // until the next token is there, as clients do
		l.rest(ctx, seconds(secret.Data["ttl"]))
		l.use(ctx, lease)
		return
	}
	if random.IntN(6) == 0 { // until its end
		l.rest(ctx, lease.left()-100*time.Millisecond)
		l.use(ctx, lease)
		l.rest(ctx, lease.left())
		return
	}
	l.rest(ctx, between(random, 0, min(lease.left(), time.Second)))
	l.use(ctx, lease)
	_ = client.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: lease.id, Sync: random.IntN(2) == 0})
}

// held is a lease in the hands of a reader.
type held struct {
	id    string
	name  string
	realm string
	token string
	ends  time.Time // at the earliest
	told  string    // where it is from
}

func newHeld(r reader, s *api.Secret, asked time.Time) *held {
	h := &held{name: r.path()}
	for _, a := range accounts {
		if a.config == r.config {
			h.realm = a.realm
		}
	}
	h.take(s, asked)
	if r.static { // the server dates its tokens in whole seconds
		h.ends = asked.Add(seconds(s.Data["expires_in"]) - time.Second)
	}
	return h
}

// seconds reads a number of an answer.
func seconds(v any) time.Duration {
	n, err := time.ParseDuration(fmt.Sprint(v) + "s")
	if err != nil {
		return 0
	}
	return n
}

func (h *held) take(s *api.Secret, asked time.Time) {
	h.id = s.LeaseID
	h.token, _ = s.Data["access_token"].(string)
	h.ends = asked.Add(time.Duration(s.LeaseDuration) * time.Second)
	h.told = fmt.Sprintf("(%v, asked %s ago, for %d s)", s.Data["session_id"], time.Since(asked).Round(time.Millisecond), s.LeaseDuration)
}

func (h *held) left() time.Duration { return max(0, time.Until(h.ends)) }

// use shows the token to the API it is for, while the lease runs.
func (l *load) use(ctx context.Context, h *held) {
	taken, err := l.world.takes(ctx, h.realm, h.token)
	if err == nil && !taken && h.left() > 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.broken = append(l.broken, fmt.Sprintf("a reader of %s holds a dead token at %.3f s, %s before the end of its lease %s; at the server: %s",
			h.name, time.Since(l.world.journal.begin).Seconds(), h.left().Round(time.Millisecond), h.told, l.world.journal.of(sessionOf(h.token))))
	}
}

// note counts a read.
func (l *load) note(r reader, asked time.Time, secret *api.Secret, err error) {
	begin := l.world.journal.begin
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers.add(answer{asked: asked.Sub(begin), answered: time.Since(begin), name: r.path(), told: told(secret, err)})
	if r.config == "shared" {
		l.shared.note(asked, secret, err)
	}
	if err == nil {
		l.reads[r.config]++
		l.served(r.config)
		return
	}
	l.refusals[refusal(r.config, err)]++
}

func (n *seen) note(asked time.Time, secret *api.Secret, err error) {
	n.slowest = max(n.slowest, time.Since(asked))
	if err != nil {
		n.refused++
		if asked.Before(n.sound) {
			n.noticed++
		}
		return
	}
	expires, err := time.Parse(time.RFC3339, fmt.Sprint(secret.Data["expires_at"]))
	if sound := expires.Add(-6 * time.Second); err == nil && sound.After(n.sound) {
		n.sound = sound
	}
}

// sinceAsked returns what readers of the shared session have met with since it
// was last called.
func (l *load) sinceAsked() seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.shared
	l.shared = seen{sound: n.sound}
	return n
}

// refusal sorts an error by what a person would say it is.
func refusal(config string, err error) string {
	var refused *api.ResponseError
	if !errors.As(err, &refused) {
		return "no answer from Vault"
	}
	sentence := strings.Join(refused.Errors, "; ")
	for _, known := range []string{
		"rpc error", "session budget is full", "one-time code", "the connection broke", "no connection", "no answer within the time",
		"the last login failed", "closed to logins", "plugin is being stopped", "Vault is sealed", "session limit",
		"could not be refreshed", "503", "transport", "EOF", "plugin is shut down", "no active",
	} {
		if strings.Contains(sentence, known) {
			return fmt.Sprintf("%s %d %s", config, refused.StatusCode, known)
		}
	}
	if len(sentence) > 160 {
		sentence = sentence[:160]
	}
	return fmt.Sprintf("%s %d %s", config, refused.StatusCode, sentence)
}

// rest waits, unless the load is over.
func (l *load) rest(ctx context.Context, d time.Duration) {
	select {
	case <-l.done:
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func between(random *rand.Rand, least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// tokenGiven waits until a reader of the shared session has got a token. If none
// has in time, the error says all that is known about it.
func (l *load) tokenGiven(ctx context.Context, limit time.Duration) error {
	begin := time.Now()
	l.mu.Lock()
	before := l.reads["shared"]
	l.mu.Unlock()
	err := eventually(ctx, limit, "a token of creds/shared", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.reads["shared"] == before {
			return errors.New("none was given")
		}
		return nil
	})
	if err != nil {
		// What led to it lies before: a token's life, in which the last refresh was due.
		return fmt.Errorf("%w\n%s", err, l.account(begin.Add(-l.world.lives.token)))
	}
	return nil
}

// told lists what readers were refused with, the most frequent first.
func (l *load) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	kinds := slices.SortedFunc(maps.Keys(l.refusals), func(a, b string) int { return l.refusals[b] - l.refusals[a] })
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d × %s", l.refusals[kind], kind)
	}
	return kinds
}
