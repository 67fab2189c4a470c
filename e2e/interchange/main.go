package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/skiff-project/skiff/e2e/lab"
)

// options are the flags.
type options struct {
	skiff, peers, only, docs string
	during                   time.Duration
}

func main() {
	var o options
	cmd := &cobra.Command{
		Use: "interchange", Short: "Runs Skiff's components in place of upstream's, and upstream's in place of Skiff's.",
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.skiff, "skiff", "bin", "folder with Skiff's programs and images")
	f.StringVar(&o.peers, "peers", "out/peers", "folder with upstream's programs")
	f.StringVar(&o.only, "only", "", "cells to run, as a regular expression")
	f.DurationVar(&o.during, "for", 0, "how long each cell repeats the script; it is done once at least")
	f.StringVar(&o.docs, "docs", "", "folder whose interchange.md is written")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "interchange: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// cell is one exchange.
type cell struct {
	name string
	// row and column say where in the table it stands.
	row    string
	column lab.Side // whose component is the guest
	work   func(ctx context.Context, r *run) error
}

// run is a cell that is tried.
type run struct {
	*options
	cell
	baseline *errorLines
	took     time.Duration
	notes    []string
	err      error
	labs     int
}

func (r *run) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
	fmt.Fprintf(os.Stderr, "    "+format+"\n", args...)
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(os.Stderr, "    "+format+"\n", args...) }

func (r *run) start(ctx context.Context, config lab.Config) (*lab.Lab, error) {
	r.labs++
	config.Name, config.Bin, config.Peers = fmt.Sprintf("ic%d", r.labs), r.skiff, r.peers
	return lab.Start(ctx, config)
}

func (r *run) stop(l *lab.Lab) {
	if err := l.Stop(); err != nil {
		r.note("%v", err)
	}
}

// cells lists all. The first is the measure of the others: a cluster that is upstream's altogether.
func cells() []cell {
	all := []cell{
		{"baseline", "whole cluster", lab.Upstream, func(ctx context.Context, r *run) error { return r.script(ctx, lab.All(lab.Upstream)) }},
		{"skiff", "whole cluster", lab.Skiff, func(ctx context.Context, r *run) error { return r.script(ctx, lab.All(lab.Skiff)) }},
	}
	for _, guest := range lab.Sides {
		host := lab.All(guest.Other())
		for _, exchange := range []struct {
			row    string
			change func(p *lab.Parts)
		}{
			{"API server", func(p *lab.Parts) { p.API = guest }},
			{"controller manager", func(p *lab.Parts) { p.Controllers = guest }},
			{"scheduler", func(p *lab.Parts) { p.Scheduler = guest }},
			{"node agent", func(p *lab.Parts) { p.Agent = guest }},
			{"proxy", func(p *lab.Parts) { p.Proxy = guest }},
		} {
			parts := host
			exchange.change(&parts)
			name := fmt.Sprintf("%s-%s", guest, strings.ReplaceAll(exchange.row, " ", "-"))
			all = append(all, cell{name, exchange.row, guest, func(ctx context.Context, r *run) error { return r.script(ctx, parts) }})
		}
		all = append(all, cell{fmt.Sprintf("%s-data", guest), "API server on the other's etcd data", guest,
			func(ctx context.Context, r *run) error { return r.data(ctx, guest.Other()) }})
	}
	return all
}

func (o *options) run(ctx context.Context) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("machines need root")
	}
	for _, dir := range []*string{&o.skiff, &o.peers} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if err := lab.Sweep(ctx, o.skiff); err != nil {
		return err
	}
	began := time.Now()
	var runs []*run
	var failed []error
	var baseline *errorLines
	for _, c := range cells() {
		if !only.MatchString(c.name) {
			continue
		}
		r := &run{options: o, cell: c, baseline: baseline}
		runs = append(runs, r)
		r.try(ctx)
		if r.err != nil {
			failed = append(failed, fmt.Errorf("%s failed", c.name))
		}
		if c.name == "baseline" {
			baseline = r.baseline
		}
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Print("\n" + table(runs, began))
	if o.docs != "" && ctx.Err() == nil {
		failed = append(failed, writeDocument(filepath.Join(o.docs, "interchange.md"), runs, began))
	}
	return errors.Join(failed...)
}

func (r *run) try(ctx context.Context) {
	limit := 5*time.Minute + r.during
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	start := time.Now()
	fmt.Fprintf(os.Stderr, "%s %s\n", start.Format(time.TimeOnly), r.name)
	r.err = r.work(ctx, r)
	if r.err != nil && ctx.Err() != nil {
		r.err = errors.Join(context.Cause(ctx), r.err)
	}
	r.took = time.Since(start)
	verdict := "passed"
	if r.err != nil {
		verdict = "FAILED: " + r.err.Error()
	}
	r.say("%s (%.0f s)", verdict, r.took.Seconds())
}
