package iam

import (
	"encoding/base32"
	"time"

	"github.com/pquerna/otp/hotp"
)

// Code returns the one-time code that the user's authenticator app shows at the
// instant, or "" for a user without one.
func (s *Server) Code(realm, username string, at time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.lookup(realm, username)
	if u == nil || u.TOTPSecret == "" {
		return ""
	}
	p := s.realms[realm].OTP
	return p.code(u.TOTPSecret, p.step(at))
}

func (p OTPPolicy) step(at time.Time) int64 { return at.Unix() / int64(p.Period/time.Second) }

func (p OTPPolicy) code(secret string, step int64) string {
	encoded := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(secret))
	code, err := hotp.GenerateCodeCustom(encoded, uint64(step),
		hotp.ValidateOpts{Digits: p.Digits, Algorithm: p.Algorithm})
	if err != nil {
		return "" // only a secret that is not base32 fails
	}
	return code
}

// otpVerdict is what became of a one-time code.
type otpVerdict int

const (
	otpWrong otpVerdict = iota
	otpReused
	otpRight
)

// take checks a code and spends it. What is remembered is the code, not its
// step, for as long as any step could accept it: a code that was taken early is
// spent in its own step too.
func (u *user) take(rl *realm, code string, now time.Time) otpVerdict {
	p := rl.OTP
	for spent, until := range u.spent {
		if !now.Before(until) {
			delete(u.spent, spent)
		}
	}
	present := p.step(now)
	last := present
	if rl.Release.NextStepCodes {
		last += int64(p.LookAround)
	}
	for step := present - int64(p.LookAround); step <= last; step++ {
		if code != p.code(u.TOTPSecret, step) {
			continue
		}
		if _, reused := u.spent[code]; reused && !p.Reusable {
			return otpReused
		}
		u.spent[code] = now.Add(p.Period * time.Duration(2*p.LookAround+1))
		return otpRight
	}
	return otpWrong
}
