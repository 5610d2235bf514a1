package sessions_test

import (
	"slices"
	"testing"
	"time"
)

// FuzzHistories lets what the fuzzer thinks of happen to an account: it keeps what
// reaches new code of the engine, and so finds histories that chance does not. Those of
// its histories that reach what the seeds below do not are kept in testdata/fuzz, and
// run with every go test. They count kinds and actions by their places: new ones go last.
func FuzzHistories(f *testing.F) {
	for kind := range kinds {
		var all []step
		for i, a := range actions {
			all = append(all, step{Action: a, Pick: i % 10, Wait: time.Duration(i%5) * 20 * time.Second})
		}
		f.Add(encode(kind, all))
		slices.Reverse(all)
		f.Add(encode(kind, all))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := decode(data)
		if failures := h.play(t); len(failures) > 0 {
			t.Fatalf("%q with seed %d: %v\n%+v", h.Kind.name, h.Seed, failures, h.Steps)
		}
	})
}

const (
	// mostSteps keeps a history short enough for the fuzzer to try many.
	mostSteps = 150
	// waitUnit is what a step's byte of waiting is counted in.
	waitUnit = 2 * time.Second
)

// decode reads a history: a byte for the kind of account, one for the seed of the
// faults, and three for each step: what happens, to which, how long afterwards.
func decode(data []byte) history {
	var h history
	next := func() (b byte) {
		if len(data) > 0 {
			b, data = data[0], data[1:]
		}
		return b
	}
	h.Kind = kinds[int(next())%len(kinds)]
	h.Seed = uint64(next())
	for len(data) > 0 && len(h.Steps) < mostSteps {
		h.Steps = append(h.Steps, step{
			Action: actions[int(next())%len(actions)], Pick: int(next()) % 10, Wait: time.Duration(next()) * waitUnit,
		})
	}
	return h
}

func encode(kind int, steps []step) []byte {
	data := []byte{byte(kind), 1}
	for _, s := range steps {
		data = append(data, byte(slices.Index(actions, s.Action)), byte(s.Pick), byte(s.Wait/waitUnit))
	}
	return data
}
