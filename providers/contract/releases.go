package contract

import "github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"

// releases are those that a sentence is about. Which they are follows from the
// manners of each (iam.Release); the names are for whoever reads the table.
type releases struct {
	named string
	have  func(r iam.Release) bool
}

var (
	withDate    = releases{"9 to 16", func(r iam.Release) bool { return r.WildFly }}
	withoutDate = releases{"from 18", func(r iam.Release) bool { return !r.WildFly }}

	refusesScopes = releases{"from 16", func(r iam.Release) bool { return !r.IgnoresScopes }}
	ignoresScopes = releases{"9", func(r iam.Release) bool { return r.IgnoresScopes }}

	alwaysServiceSessions = releases{"9", func(r iam.Release) bool { return r.ServiceSessions == iam.ServiceSessionsAlways }}
	someServiceSessions   = releases{"from 16", func(r iam.Release) bool { return r.ServiceSessions == iam.ServiceSessionsIfRefresh }}

	codesWorkOnce  = releases{"from 22", func(r iam.Release) bool { return !r.CodesWorkTwice }}
	codesWorkTwice = releases{"9 to 18", func(r iam.Release) bool { return r.CodesWorkTwice }}
	nextCodes      = releases{"from 16", func(r iam.Release) bool { return r.NextStepCodes }}
	noNextCodes    = releases{"9", func(r iam.Release) bool { return !r.NextStepCodes }}

	accountAPI   = releases{"all but 9 as it comes", func(r iam.Release) bool { return r.AccountAPI.On }}
	noAccountAPI = releases{"9 as it comes", func(r iam.Release) bool { return !r.AccountAPI.On }}

	logoutAnywhere = releases{"9 to 22", func(r iam.Release) bool { return r.LogoutAnywhere }}
	logoutBound    = releases{"from 24", func(r iam.Release) bool { return !r.LogoutAnywhere }}

	noRevocation    = releases{"9", func(r iam.Release) bool { return r.Revocation == iam.NoRevocation }}
	revokesClient   = releases{"16 to 26.0", func(r iam.Release) bool { return r.Revocation == iam.RevokesClient }}
	revokesSession  = releases{"from 26.4", func(r iam.Release) bool { return r.Revocation == iam.RevokesSession }}
	countsIdle      = releases{"9 to 18", func(r iam.Release) bool { return r.CountsIdle }}
	dropsIdle       = releases{"from 22", func(r iam.Release) bool { return !r.CountsIdle }}
	limiter         = releases{"from 18", func(r iam.Release) bool { return r.SessionLimit != iam.NoLimiter }}
	oneLoginAtATime = releases{"from 26", func(r iam.Release) bool { return r.OneLoginAtATime }}
	manyAtATime     = releases{"9 to 24", func(r iam.Release) bool { return !r.OneLoginAtATime }}

	reuseIsRefused = releases{"9", func(r iam.Release) bool { return r.Reuse == iam.ReuseIsRefused }}
	reuseKills     = releases{"from 16", func(r iam.Release) bool { return r.Reuse != iam.ReuseIsRefused }}
)
