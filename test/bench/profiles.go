package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// module is the prefix of our packages in a profile.
const module = "github.com/pantaindex/vault-plugin-secrets-panta/"

// parts of a plugin's work, by the package of the innermost function that has
// one of these prefixes: what the standard library does counts for who asked.
var parts = []struct{ prefix, name string }{
	{module + "sessions", "sessions: the grant"},
	{module + "configs", "configs: what the name means"},
	{module + "store", "configs: what the name means"},
	{module + "paths", "paths: options, term, answer"},
	{module + "backend", "paths: options, term, answer"},
	{module + "providers", "providers: the headers"},
	{module + "test/bench", "the null plugin's handler"},
	{"github.com/hashicorp/vault/sdk/framework", "sdk/framework: routing, fields"},
	{"github.com/hashicorp/vault/sdk/", "sdk: answer and request as JSON and protobuf"},
	{"google.golang.org/protobuf", "sdk: answer and request as JSON and protobuf"},
	{"google.golang.org/grpc", "gRPC"},
	{"golang.org/x/net", "gRPC"},
	{"github.com/hashicorp/", "gRPC"},
}

const (
	collecting = "Go: garbage collection"
	runtimes   = "Go: scheduling, timers"
)

// partNames are the rows of the table, from our code outwards.
func partNames() []string {
	var names []string
	for _, p := range parts {
		if len(names) == 0 || names[len(names)-1] != p.name {
			names = append(names, p.name)
		}
	}
	return append(names, collecting, runtimes)
}

// costs is the CPU time of a read in the plugin's process, by part.
type costs map[string]time.Duration

func (c costs) total() time.Duration {
	var all time.Duration
	for _, d := range c {
		all += d
	}
	return all
}

// profiles measures where the CPU time of a read goes in both plugins' processes.
func (g *ground) profiles(ctx context.Context, much effort, r *report) error {
	const nullProfiled, profiled = "null-profiled", "panta-profiled"
	dirs := map[string]string{}
	for mount, binary := range map[string]string{nullProfiled: g.null, profiled: g.profiled} {
		dirs[mount] = filepath.Join(g.vault.Dir, mount)
		if err := os.Mkdir(dirs[mount], 0o700); err != nil {
			return err
		}
		if err := g.enable(ctx, binary, mount, "-profiles="+dirs[mount]); err != nil {
			return err
		}
	}
	_, err := g.client.Logical().WriteWithContext(ctx, profiled+"/config/hot", map[string]any{
		"provider": "ocp", "environment": "eu1", "username": iam.DemoPlainUser, "password": iam.DemoPlainPassword, "base_url": g.url,
	})
	if err != nil {
		return err
	}
	if err := g.teach(ctx, profiled, nullProfiled); err != nil {
		return err
	}
	var both [2]costs
	for i, mount := range []string{nullProfiled, profiled} {
		if both[i], err = g.profile(ctx, mount, dirs[mount], much.profile); err != nil {
			return err
		}
		if err := g.clear(ctx, mount); err != nil {
			return err
		}
	}
	r.addProfiles(both[0], both[1])
	return nil
}

// profile loads a plugin and takes its CPU profile meanwhile.
func (g *ground) profile(ctx context.Context, mount, dir string, seconds int) (costs, error) {
	reader := newReader(g.vault.Addr, g.vault.Token, mount+"/creds/hot", clients)
	defer reader.close()
	if _, err := reader.drive(ctx, 1, 0); err != nil {
		return nil, err
	}
	type answer struct {
		data []byte
		err  error
	}
	taken := make(chan answer, 1)
	go func() {
		data, err := takeProfile(ctx, dir, seconds)
		taken <- answer{data, err}
	}()
	l, err := reader.drive(ctx, clients, time.Duration(seconds)*time.Second)
	got := <-taken
	if err := errors.Join(err, got.err); err != nil {
		return nil, err
	}
	p, err := profile.ParseData(got.data)
	if err != nil {
		return nil, err
	}
	reads := l.throughput * time.Duration(p.DurationNanos).Seconds()
	return costsOf(p, reads), nil
}

// costsOf shares the samples of a CPU profile out among the parts.
func costsOf(p *profile.Profile, reads float64) costs {
	c := costs{}
	for _, sample := range p.Sample {
		cpu := sample.Value[len(sample.Value)-1] // nanoseconds
		c[partOf(sample)] += time.Duration(float64(cpu) / reads)
	}
	return c
}

func partOf(s *profile.Sample) string {
	name := runtimes
	for _, location := range s.Location { // from the innermost call outwards
		for _, line := range location.Line {
			for _, p := range parts {
				if strings.HasPrefix(line.Function.Name, p.prefix) {
					return p.name
				}
			}
			if strings.HasPrefix(line.Function.Name, "runtime.gcBgMarkWorker") || strings.HasPrefix(line.Function.Name, "runtime.bgsweep") {
				name = collecting
			}
		}
	}
	return name
}

// takeProfile asks the processes that have written their address to dir; one of
// them lives.
func takeProfile(ctx context.Context, dir string, seconds int) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		address, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		data, err := get(ctx, fmt.Sprintf("http://%s/profile?seconds=%d", address, seconds))
		if err == nil {
			return data, nil
		}
	}
	return nil, fmt.Errorf("none of %d plugin processes answers with a profile", len(files))
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
