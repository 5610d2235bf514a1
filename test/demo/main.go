// Command demo shows the main job of the plugin on real servers, and checks what
// it shows: configs for Panta, OCP and the partner API, tokens as leases, and no
// session left upstream when the leases are gone. It prints each command before
// its output, so that it is a tutorial too.
//
// `make demo` runs it. The environment says on what:
//
//	SERVER  vault (the default) or openbao
//	IAM     emulator (the default) or keycloak
//	KEEP    not empty: leave everything running, and say how to use and stop it
//
// Without KEEP nothing is left behind, whatever ends it. story.go is where to
// start reading.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// keycloakVersion is the newest one that the plugin is tested with.
const keycloakVersion = "26.7.0"

func main() {
	if len(os.Args) == 2 && os.Args[1] == emulatorArgument {
		exitOn(serveEmulator(context.Background()))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	if ctx.Err() != nil {
		err = errors.New("interrupted; everything that was started is stopped")
	}
	stop()
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	begin := time.Now()
	up, err := startUpstream(ctx, cmp.Or(os.Getenv("IAM"), "emulator"))
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			up.stop()
		}
	}()
	vault, err := servers.StartVault(ctx, servers.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if !keep {
			vault.Stop()
		}
	}()

	t, err := newTerminal(vault)
	if err != nil {
		return err
	}
	if err := (story{t, up}).tell(ctx); err != nil {
		return err
	}
	if err := t.summary(time.Since(begin)); err != nil {
		return err
	}
	if os.Getenv("KEEP") != "" {
		keep = true
		return sayHowToGoOn(t, vault, up)
	}
	return nil
}

// sayHowToGoOn leaves the servers running.
func sayHowToGoOn(t *terminal, vault *servers.Vault, up *upstream) error {
	groups, dirs := fmt.Sprintf("-%d", vault.Keep()), vault.Dir
	emulator, err := up.emulator.keep()
	if err != nil {
		return err
	}
	groups += fmt.Sprintf(" -%d", emulator)
	if up.keycloak != nil {
		groups += fmt.Sprintf(" -%d", up.keycloak.Keep())
		dirs += " " + up.keycloak.Dir
	}
	t.title("Left running")
	t.say("\nTo go on from here, in any shell:")
	t.say("")
	t.say("  export %s_ADDR=%s %s_TOKEN=%s IAM=%s", t.prefix, vault.Addr, t.prefix, vault.Token, up.emulator.url)
	t.say("  export PATH=%s:$PATH", vault.BinDir())
	t.say("  curl $IAM/_iam/stats")
	t.say("")
	t.say("To stop it and remove its files:")
	t.say("")
	t.say("  kill -s KILL -- %s; rm -rf %s", groups, dirs)
	return nil
}
