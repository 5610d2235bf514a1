package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sound is a module of two packages. The tests of price are weak; those of shop
// use it, too.
var sound = map[string]string{
	"go.mod": "module example.com/shop\n\ngo 1.24\n",
	"price/price.go": `package price

const unit = 3

// Of is the price of n pieces; more than ten are cheaper.
func Of(n int) int {
	if n > 10 {
		n--
	}
	return n * unit
}

// Free says that nothing is to be paid.
func Free(n int) bool { return n == 0 }
`,
	"price/price_test.go": `package price

import "testing"

func TestOf(t *testing.T) {
	if Of(2) != 6 {
		t.Fatal("two cost something else")
	}
}
`,
	"shop/shop_test.go": `package shop

import (
	"testing"

	"example.com/shop/price"
)

func TestMany(t *testing.T) {
	if price.Of(12) != 33 {
		t.Fatal("twelve cost something else")
	}
}
`,
}

func writeModule(t *testing.T) {
	t.Helper()
	root := t.TempDir()
	for name, text := range sound {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	t.Chdir(root)
}

func TestEachMistakeIsTriedOnTheTestsThatCoverIt(t *testing.T) {
	writeModule(t)
	require.NoError(t, os.WriteFile("equivalent.txt", []byte("# nobody buys ten\nprice/price.go: if n > 10 { => if n >= 10 {\n"), 0o600))
	var out strings.Builder
	o := options{folders: []string{"price"}, workers: 2, equivalent: "equivalent.txt", verbose: true}
	require.NoError(t, run(t.Context(), o, &out))
	lines := strings.Split(out.String(), "\n")

	for _, wanted := range []string{
		"price: 1 tests",
		"shop: 1 tests",
		"found     price/price.go:3: const unit = 3 => const unit = 4 (TestOf)",
		"found     price/price.go:8: n-- => n++ (TestMany)", // a test of another package
		"found     price/price.go:8: n-- => (nothing) (TestMany)",
		"found     price/price.go:7: if n > 10 { => if n <= 10 { (TestOf)",
		"found     price/price.go:10: return n * unit => return n / unit (TestOf)",
		"found     price/price.go:10: return n * unit => return 0 (TestOf)",
		"harmless  price/price.go:7: if n > 10 { => if n >= 10 { (nobody buys ten)",
		"survived  price/price.go:7: if n > 10 { => if n > 11 {",
		"uncovered price/price.go:14: func Free(n int) bool { return n == 0 } => func Free(n int) bool { return n != 0 }",
	} {
		assert.Contains(t, lines, wanted)
	}
	assert.Contains(t, out.String(), "7 of 11 mistakes found, 63.6 % (0 by a hang); 4 survived, 2 of them on lines that no test runs; 1 more change nothing\n")
}

func TestTheSameSeedDrawsTheSameSample(t *testing.T) {
	writeModule(t)
	m, err := load(t.Context())
	require.NoError(t, err)
	draw := func(seed uint64) (keys []string) {
		p, err := m.open("price")
		require.NoError(t, err)
		for _, m := range choose(mutantsIn([]*pkg{p}), options{sample: 4, seed: seed}) {
			keys = append(keys, m.key())
		}
		return keys
	}
	first := draw(1)
	assert.Len(t, first, 4)
	assert.Equal(t, first, draw(1))
	assert.NotEqual(t, first, draw(2))
}

func TestTestsThatFailWithoutAMistakeAreNoMeasure(t *testing.T) {
	writeModule(t)
	require.NoError(t, os.WriteFile("price/price_test.go", []byte(strings.Replace(sound["price/price_test.go"], "6", "7", 1)), 0o600))
	err := run(context.Background(), options{folders: []string{"price"}, workers: 1}, &strings.Builder{})
	require.ErrorContains(t, err, "fail without any mistake")
	require.ErrorContains(t, err, "two cost something else")
}

func TestAListedMistakeThatCannotBeMadeAnyMoreIsAnError(t *testing.T) {
	writeModule(t)
	require.NoError(t, os.WriteFile("equivalent.txt", []byte("# that of another package is not looked at\nother/x.go: a => b\n# nobody buys ten\nprice/price.go: if n > 9 { => if n >= 9 {\n"), 0o600))
	o := options{folders: []string{"price"}, workers: 1, equivalent: "equivalent.txt"}
	require.EqualError(t, run(t.Context(), o, &strings.Builder{}), "equivalent.txt: there is no such mistake: price/price.go: if n > 9 { => if n >= 9 {")
}

func TestTooFewFoundIsAnError(t *testing.T) {
	writeModule(t)
	o := options{folders: []string{"price"}, workers: 2, only: "Free", least: 50}
	require.ErrorContains(t, run(t.Context(), o, &strings.Builder{}), "0.0 % are found, at least 50.0 are wanted")
}
