// Package apps holds the rows of the apps group: what keeps pods running.
package apps
