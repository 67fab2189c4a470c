// Command conformance builds the official conformance suite of Kubernetes and runs it against Skiff: on a cluster of
// two machines made for it and ended afterwards, with no way to anything outside of this machine.
//
//	conformance build      build the suite, its tools and its images, where they are not up to date
//	conformance run        run it, or what FOCUS, SKIP and FAILED leave of it
//	conformance slice      run a part of what passed last time, chosen by the commit (for continuous integration)
//	conformance registry   answer pulls of the suite's images; runs inside the machines
//
// It is started from the top of the repository; `make conformance` does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Folders, from the top of the repository.
const (
	moduleDir = "e2e/conformance"
	skiffDir  = "bin"
	extrasDir = "bin/.images" // pause, and the stand-in for nginx
	cacheDir  = "bin/conformance"
	outDir    = "out/conformance"
	docsDir   = "docs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := command(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("a command is missing: build, run, slice or registry")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "build":
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return build(ctx)
	case "run":
		w := whole{}
		flags.StringVar(&w.focus, "focus", "", "only tests whose names match this regular expression")
		flags.StringVar(&w.skip, "skip", "", "no tests whose names match this regular expression")
		flags.BoolVar(&w.failed, "failed", false, "only tests that failed in the last run")
		flags.IntVar(&w.procs, "procs", defaultProcs, "tests that run side by side")
		flags.DurationVar(&w.limit, "limit", 3*time.Hour, "longest time that the tests may take")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return w.run(ctx)
	case "slice":
		s := slice{}
		flags.StringVar(&s.key, "commit", "", "what the choice of tests depends on")
		flags.IntVar(&s.procs, "procs", defaultProcs, "tests that run side by side")
		flags.DurationVar(&s.limit, "limit", 15*time.Minute, "longest time that all of it may take")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return s.run(ctx)
	case "registry":
		dir := flags.String("layout", "", "folder of the images")
		address := flags.String("listen", "127.0.0.1:5000", "address to listen on")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return serveRegistry(ctx, *dir, *address)
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// defaultProcs keeps two cores busy without making tests wait for each other: the suite mostly waits.
const defaultProcs = 5

func programsDir() string { return filepath.Join(cacheDir, "programs") }
func imagesDir() string   { return filepath.Join(cacheDir, "images") }
