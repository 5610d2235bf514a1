package iam

import "regexp"

// botName is the rule by which Keycloak's User-Agent parser keeps names that it
// knows as bots: at most 50 characters before "bot", and no dot or slash among
// them, so that anything longer is cut from the left.
var botName = regexp.MustCompile(`(?:/[A-Za-z0-9.]*)? {0,5}([A-Za-z0-9 \-_!\[\]:]{0,50}[Bb]ot)(?:[/ ](\d+(?:\.\d+){0,2}))?`)

// browser is what the Account REST API shows for a login's User-Agent. Of real
// browsers and libraries, which the parser knows by the hundred, none is told
// apart here.
func browser(userAgent string) string {
	match := botName.FindStringSubmatch(userAgent)
	if match == nil {
		return "Other/Unknown"
	}
	name, version := match[1], match[2]
	if version == "" {
		version = "Unknown"
	}
	return name + "/" + version
}
