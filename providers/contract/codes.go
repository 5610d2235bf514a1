package contract

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

// codes are the one-time codes of a second factor.
func codes() []scenario {
	return []scenario{
		{sentence: "a missing and a wrong code say Invalid user credentials", realm: plain, try: refusedCodes},
		{sentence: "a used code says Invalid user credentials", of: codesWorkOnce, realm: plain, try: usedCode},
		{sentence: "a used code is taken again", of: codesWorkTwice, realm: plain, try: takenAgain},
		{sentence: "codes of the steps around are taken", of: nextCodes, realm: plain, try: neighbouringSteps},
		{sentence: "each of those works once, and an early one is spent in its own step too", of: codesWorkOnce, realm: plain, try: spentAround},
		{sentence: "the code of the step before is taken, that of the step after is refused until its step begins", of: noNextCodes, realm: plain, try: noLookAhead},
		{sentence: "codes two steps off are refused", realm: plain, try: clockOff},
		{sentence: "otp and totp both name the code", realm: plain, try: bothNames},
		{sentence: "one code opens one session, however many send it at once", of: codesWorkOnce, realm: plain, try: oneCodeAtOnce},
	}
}

// carols is carol's upstream, and typed one that has no secret.
func (w *world) carols() (up, typed upstream) {
	w.Helper()
	a := w.account(w.carol)
	a.TOTPSecret = otpauth(base32Of(rawSecret).Reveal(), period)
	return upstream{w, w.connect(presets.OCP(), a)}, w.ocp(w.carol)
}

func (u upstream) tryLoginAt(at time.Time) error {
	_, err := u.Login(u.w.Context(), providers.LoginRequest{CodeAt: at})
	return err
}

// stepBegins waits for a step to begin and returns its middle.
func stepBegins() time.Time {
	next := time.Now().Truncate(period).Add(period)
	time.Sleep(time.Until(next) + 50*time.Millisecond)
	return next.Add(period / 2)
}

func refusedCodes(w *world) {
	_, typed := w.carols()
	w.refused(typed.tryLogin(), providers.BadCredentials, invalidCredentials)
	_, err := typed.Login(w.Context(), providers.LoginRequest{OTP: providers.NewSecret("000000")})
	w.refused(err, providers.BadCredentials, invalidCredentials)
	require.Zero(w, w.Sessions(w.T, w.carol))
}

func usedCode(w *world) {
	up, _ := w.carols()
	now := stepBegins()
	require.NoError(w, up.tryLoginAt(now))
	w.refused(up.tryLoginAt(now), providers.BadCredentials, invalidCredentials)
	require.Equal(w, 1, w.Sessions(w.T, w.carol))
}

func takenAgain(w *world) {
	up, _ := w.carols()
	now := stepBegins()
	for range 2 {
		require.NoError(w, up.tryLoginAt(now))
	}
	require.Equal(w, 2, w.Sessions(w.T, w.carol))
}

func noLookAhead(w *world) {
	up, _ := w.carols()
	now := stepBegins()
	require.NoError(w, up.tryLoginAt(now.Add(-period)), "the step before")
	w.refused(up.tryLoginAt(now.Add(period)), providers.BadCredentials, invalidCredentials)
	stepBegins()
	require.NoError(w, up.tryLoginAt(now.Add(period)), "its step has begun")
}

func neighbouringSteps(w *world) {
	up, _ := w.carols()
	now := stepBegins()
	require.NoError(w, up.tryLoginAt(now.Add(period)), "the step after")
	require.NoError(w, up.tryLoginAt(now.Add(-period)), "the step before")
	require.NoError(w, up.tryLoginAt(now), "this step")
}

func spentAround(w *world) {
	up, _ := w.carols()
	now := stepBegins()
	for _, at := range []time.Time{now.Add(period), now.Add(-period)} {
		require.NoError(w, up.tryLoginAt(at))
	}
	w.refused(up.tryLoginAt(now.Add(-period)), providers.BadCredentials, invalidCredentials)
	stepBegins()
	w.refused(up.tryLoginAt(now.Add(period)), providers.BadCredentials, invalidCredentials)
}

func clockOff(w *world) {
	up, _ := w.carols()
	now := stepBegins()
	w.refused(up.tryLoginAt(now.Add(2*period)), providers.BadCredentials, invalidCredentials)
	w.refused(up.tryLoginAt(now.Add(-2*period)), providers.BadCredentials, invalidCredentials)
	require.NoError(w, up.tryLoginAt(now))
}

func bothNames(w *world) {
	now := stepBegins()
	for i, name := range []string{"otp", "totp"} {
		code := w.code(now.Add(-time.Duration(i) * period))
		got := w.post("token", w.loginForm("username", w.carol, name, code), nil)
		require.Equal(w, 200, got.status, got.raw)
	}
}

func oneCodeAtOnce(w *world) {
	up, _ := w.carols()
	now := stepBegins()
	results := atOnce(4, func() error { return up.tryLoginAt(now) })
	opened := w.Sessions(w.T, w.carol)
	require.Equal(w, succeeded(results), opened)
	require.Equal(w, 1, opened)
}
