package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// command is one that scripts have besides testscript's own.
type command func(ts *testscript.TestScript, args []string) error

func commands() map[string]command {
	return map[string]command{
		"json":     getJSON,
		"call":     call,
		"sessions": sessions,
		"refused":  refused,
		"code":     typeCode,
		"iam":      control,
		"clock":    shiftClock,
		"scrape":   scrape,
	}
}

// shiftClock is `clock 4m`: so far is the emulator's clock ahead from now on.
func shiftClock(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: clock duration")
	}
	ahead, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	upstreamOf(ts).emulator.ShiftClock(ahead)
	return nil
}

// scrape is `scrape file`: gets the metrics of the script's mount as Prometheus does.
func scrape(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: scrape file")
	}
	mount := strings.TrimPrefix(filepath.Base(ts.Getenv("WORK")), "script-")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.Getenv("VAULT_ADDR")+"/v1/"+mount+"/metrics?format=prometheus", http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("X-Vault-Token", ts.Getenv("VAULT_TOKEN"))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		return fmt.Errorf("%s, %s: %s", resp.Status, kind, text)
	}
	return os.WriteFile(ts.MkAbs(args[0]), text, 0o600)
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range commands() {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("! %s: not supported", name)
			}
			ts.Check(c(ts, args))
		}
	}
	all["eventually"] = tryAgain
	return all
}

type upstreamKey struct{}

func upstreamOf(ts *testscript.TestScript) *upstream { return ts.Value(upstreamKey{}).(*upstream) }

// tryAgain is `eventually 5s command…`: until the command succeeds, or after
// `eventually 5s ! command…` until it fails.
func tryAgain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually duration [!] command...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	args = args[1:]
	fails := args[0] == "!"
	if fails {
		args = args[1:]
	}
	try := func() error { return commands()[args[0]](ts, args[1:]) }
	if args[0] == "exec" {
		try = func() error { return ts.Exec(args[1], args[2:]...) }
	}
	ts.Check(until(limit, func() error {
		err := try()
		if fails && err == nil {
			return errors.New("it succeeds still")
		}
		if fails {
			return nil
		}
		return err
	}))
}

// until tries until there is no error, or returns the last one.
func until(limit time.Duration, try func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("still after %s: %w", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func eventually(tb testing.TB, limit time.Duration, what string, try func() error) {
	tb.Helper()
	if err := until(limit, try); err != nil {
		tb.Errorf("%s: %v", what, err)
	}
}

// getJSON is `json file NAME=path…`: sets variables from a JSON file or stdout.
// A path is like data.headers.Authorization.
func getJSON(ts *testscript.TestScript, args []string) error {
	var whole any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &whole); err != nil {
		return err
	}
	for _, assignment := range args[1:] {
		name, path, _ := strings.Cut(assignment, "=")
		value := whole
		for key := range strings.SplitSeq(path, ".") {
			object, _ := value.(map[string]any)
			if _, ok := object[key]; !ok {
				return fmt.Errorf("%s has no %s", args[0], path)
			}
			value = object[key]
		}
		if text, ok := value.(string); ok {
			ts.Setenv(name, text)
			continue
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return err
		}
		ts.Setenv(name, string(encoded))
	}
	return nil
}

// call is `call status file url`: sends the headers of an answer of creds/, as
// JSON in a file or stdout, and expects a status.
func call(ts *testscript.TestScript, args []string) error {
	want, file, url := args[0], args[1], args[2]
	var answer struct {
		Data struct {
			Headers map[string]string `json:"headers"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(ts.ReadFile(file)), &answer); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	for name, value := range answer.Data.Headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && strconv.Itoa(resp.StatusCode) != want {
		err = fmt.Errorf("%s: %s %s, want %s", url, resp.Status, body, want)
	}
	return err
}

// sessions is `sessions count realm user`.
func sessions(ts *testscript.TestScript, args []string) error {
	n, err := upstreamOf(ts).sessions(context.Background(), args[1], args[2])
	if err == nil && strconv.Itoa(n) != args[0] {
		err = fmt.Errorf("%s has %d sessions in realm %s, want %s", args[2], n, args[1], args[0])
	}
	return err
}

// refused is `refused status sentence`: how the last command was refused. In
// the sentence … stands for anything.
func refused(ts *testscript.TestScript, args []string) error {
	status, sentence := args[0], args[1]
	stderr := ts.ReadFile("stderr")
	if !strings.Contains(stderr, "Code: "+status+".") {
		return fmt.Errorf("the status is not %s:\n%s", status, stderr)
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(sentence), "…", ".*")
	if !regexp.MustCompile(`(?m)^\s*\* ` + pattern + `\s*$`).MatchString(stderr) {
		return fmt.Errorf("the sentence is not %q:\n%s", sentence, stderr)
	}
	return nil
}

// typeCode is `code NAME`: sets a variable to what olga's authenticator shows,
// as a person does who looks at it. It waits for a code that is new.
func typeCode(ts *testscript.TestScript, args []string) error {
	period, err := time.ParseDuration(ts.Getenv("TOTP_PERIOD"))
	if err != nil {
		return err
	}
	return until(2*period, func() error {
		code, err := upstreamOf(ts).code(period)
		if err == nil && code == ts.Getenv(args[0]) {
			err = errors.New("the authenticator shows the same code")
		}
		if err == nil {
			ts.Setenv(args[0], code)
		}
		return err
	})
}

// control is the emulator's:
//
//	iam fault {json}                   inject a fault
//	iam clear                          remove all faults
//	iam stats realm user logins=1 …    expect counts, by their names in JSON
//	iam calls login=1 …                expect calls by operation
func control(ts *testscript.TestScript, args []string) error {
	server := upstreamOf(ts).emulator
	switch args[0] {
	case "fault":
		return post(upstreamOf(ts).url+"/_iam/faults", args[1])
	case "clear":
		server.ClearFaults()
		return nil
	case "stats":
		return hasCounts(server.AccountStats(args[1], args[2]), args[3:])
	case "calls":
		counts := map[string]int{}
		for op, n := range server.Stats().Calls {
			counts[string(op)] = n
		}
		return hasCounts(counts, args[1:])
	}
	return fmt.Errorf("iam %s: unknown", args[0])
}

func post(url, body string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		answer, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return nil
}

func hasCounts(counted any, want []string) error {
	encoded, err := json.Marshal(counted)
	if err != nil {
		return err
	}
	got := map[string]any{}
	if err := json.Unmarshal(encoded, &got); err != nil {
		return err
	}
	for _, expectation := range want {
		name, n, _ := strings.Cut(expectation, "=")
		value, known := got[name].(float64)
		if _, isStats := counted.(iam.AccountStats); isStats && !known {
			return fmt.Errorf("the emulator does not count %s", name)
		}
		if strconv.Itoa(int(value)) != n {
			return fmt.Errorf("%s: %d, want %s", name, int(value), n)
		}
	}
	return nil
}
