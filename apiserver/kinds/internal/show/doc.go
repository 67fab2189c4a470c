// Package show words the table cells that several kinds have in common.
package show
