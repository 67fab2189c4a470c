// Package containerlog reads the log files that container runtimes write in the CRI format, one line a record:
//
//	2026-01-02T15:04:05.123456789Z stdout F the text of a whole line
//	2026-01-02T15:04:05.123456789Z stderr P the beginning of one
//
// and rotates them. Rotation renames PATH to PATH.<time> and has the runtime open a new PATH, as the kubelet does; a reader
// who follows goes on in the new file after he has read the old one to its end.
package containerlog
