package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// options are what the flags say.
type options struct {
	listen       string
	addrFile     string
	tokenLife    time.Duration
	otpPeriod    time.Duration
	sessionLimit int
	rotate       bool
	clockShift   time.Duration
	dateHeader   bool
	release      iam.Release // zero: those of the demo
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("iam", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 picks one")
	flags.StringVar(&o.addrFile, "addr-file", "", "`file` to write the base URL to, once it listens")
	flags.DurationVar(&o.tokenLife, "token-life", 300*time.Second, "life of the realms' access tokens, whole seconds")
	flags.DurationVar(&o.otpPeriod, "otp-period", 30*time.Second, "step of one-time codes, whole seconds")
	flags.IntVar(&o.sessionLimit, "session-limit", iam.DemoSessionLimit, "sessions per user of the OCP realms; 0: no limit")
	flags.BoolVar(&o.rotate, "rotate", false, "rotate refresh tokens: each works once")
	flags.DurationVar(&o.clockShift, "clock-shift", 0, "how far the servers' clock is ahead; negative: behind")
	flags.BoolVar(&o.dateHeader, "date-header", false, "send the header Date, as a proxy in front of Keycloak does")
	flags.Func("release", "Keycloak `release` whose manners all realms have, as in internal/iam/release.go", func(name string) (err error) {
		o.release, err = knownRelease(name)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if err := o.validate(flags.Args()); err != nil {
		_, _ = fmt.Fprintln(stderr, "iam:", err)
		return options{}, err
	}
	return o, nil
}

func (o options) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case !wholeSeconds(o.tokenLife):
		return fmt.Errorf("-token-life %s is not a positive number of whole seconds", o.tokenLife)
	case !wholeSeconds(o.otpPeriod):
		return fmt.Errorf("-otp-period %s is not a positive number of whole seconds", o.otpPeriod)
	case o.sessionLimit < 0:
		return fmt.Errorf("-session-limit %d is negative", o.sessionLimit)
	}
	return nil
}

func knownRelease(name string) (iam.Release, error) {
	if release, known := iam.LookupRelease(name); known {
		return release, nil
	}
	var names []string
	for _, release := range iam.Releases() {
		names = append(names, release.Name)
	}
	return iam.Release{}, fmt.Errorf("there are %s", strings.Join(names, ", "))
}

func wholeSeconds(d time.Duration) bool { return d > 0 && d%time.Second == 0 }

// config is the demo with the options applied.
func (o options) config() iam.Config {
	cfg := iam.Demo()
	cfg.ClockShift, cfg.DateHeader = o.clockShift, o.dateHeader
	for i := range cfg.Realms {
		realm := &cfg.Realms[i]
		realm.TokenLife = o.tokenLife
		realm.OTP.Period = o.otpPeriod
		realm.RevokeRefreshToken = o.rotate
		realm.Release = cmp.Or(o.release, realm.Release)
		if realm.API == iam.OCPAPI {
			realm.SessionLimit.Max = o.sessionLimit
		}
	}
	return cfg
}
