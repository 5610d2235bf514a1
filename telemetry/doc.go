// Package telemetry tells the outside what the session engine does: as metrics
// for Prometheus, and as events of Vault. It hears of it as a sessions.Observer,
// and asks for the rest when it is scraped; the engine itself counts nothing but
// its reads.
//
// No metric and no event holds a secret, or any text of a server. The one label
// that people choose is the config's name.
//
// Start with NewMetrics and NewEvents.
package telemetry
