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
	skiff, peers string
	only, sides  string
	runs         int
	sizes        []int
	schedule     int
	services     int
	settle       time.Duration
	json, docs   string
}

func main() {
	var o options
	cmd := &cobra.Command{
		Use: "bench", Short: "Measures Skiff beside upstream Kubernetes.", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.skiff, "skiff", "bin", "folder with Skiff's programs and images")
	f.StringVar(&o.peers, "peers", "out/peers", "folder with upstream's programs")
	f.StringVar(&o.only, "only", "", "benchmarks to run, as a regular expression")
	f.StringVar(&o.sides, "sides", "upstream,skiff", "who is measured")
	f.IntVar(&o.runs, "runs", 3, "runs of each side, of which the median is told")
	f.IntSliceVar(&o.sizes, "sizes", []int{5000, 20000}, "objects that the API server holds")
	f.IntVar(&o.schedule, "schedule", 3000, "pods to schedule")
	f.IntVar(&o.services, "services", 5000, "Services that a proxy serves")
	f.DurationVar(&o.settle, "settle", 15*time.Second, "rest before idle memory and processor time are measured")
	f.StringVar(&o.json, "json", "", "file for the figures of every run")
	f.StringVar(&o.docs, "docs", "", "folder whose performance.md and performance.svg are brought up to date")
	cmd.AddCommand(backendCommand())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func (o *options) run(ctx context.Context) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	if err := o.check(); err != nil {
		return err
	}
	// What a run left behind that was killed.
	if err := lab.Sweep(ctx, o.skiff); err != nil {
		return err
	}
	rec := &record{runs: o.runs, began: time.Now()}
	var failed []error
	for _, bm := range o.benchmarks() {
		if !only.MatchString(bm.name) {
			continue
		}
		for run := range o.runs {
			for _, side := range lab.Sides {
				if !strings.Contains(o.sides, string(side)) || bm.name == ceilings && side == lab.Upstream {
					continue
				}
				start := time.Now()
				fmt.Fprintf(os.Stderr, "%s %s: %s, run %d of %d\n", start.Format(time.TimeOnly), bm.name, side, run+1, o.runs)
				if err := o.once(ctx, bm, side, rec); err != nil {
					err = fmt.Errorf("%s, %s: %w", bm.name, side, err)
					fmt.Fprintf(os.Stderr, "    FAILED: %v\n", err)
					failed = append(failed, err)
				}
				if ctx.Err() != nil {
					return errors.Join(append(failed, ctx.Err())...)
				}
				fmt.Fprintf(os.Stderr, "    (%.0f s)\n", time.Since(start).Seconds())
			}
		}
	}
	return errors.Join(append(failed, rec.publish(o))...)
}

func (o *options) once(ctx context.Context, bm benchmark, side lab.Side, rec *record) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bm.limit, fmt.Errorf("not done after %s", bm.limit))
	defer cancel()
	err := bm.run(ctx, &bench{options: o, name: bm.name, side: side, rec: rec})
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return err
}

// check finds out what is missing before the first measurement.
func (o *options) check() error {
	if os.Geteuid() != 0 {
		return errors.New("machines need root")
	}
	var err error
	for _, dir := range []*string{&o.skiff, &o.peers} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	for _, file := range []string{
		o.skiff + "/apiserver", o.skiff + "/machine-init", o.skiff + "/skiff", o.skiff + "/bench", o.skiff + "/images/busybox.tar",
		o.peers + "/etcd", o.peers + "/kube-apiserver", o.peers + "/kubelet", o.peers + "/containerd",
	} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w (make bench builds it)", err)
		}
	}
	return nil
}

// benchmarks lists all, in the order of the table.
func (o *options) benchmarks() []benchmark {
	var all []benchmark
	for _, size := range o.sizes {
		all = append(all, benchmark{fmt.Sprintf("api-%d", size), 6 * time.Minute, func(ctx context.Context, b *bench) error { return b.api(ctx, size) }})
	}
	return append(all,
		benchmark{"scheduling", 5 * time.Minute, func(ctx context.Context, b *bench) error { return b.scheduling(ctx) }},
		benchmark{"controllers", 5 * time.Minute, func(ctx context.Context, b *bench) error { return b.controllers(ctx) }},
		benchmark{"node", 6 * time.Minute, func(ctx context.Context, b *bench) error { return b.node(ctx) }},
		benchmark{"proxy", 3 * time.Minute, func(ctx context.Context, b *bench) error { return b.proxy(ctx) }},
		benchmark{ceilings, time.Minute, func(ctx context.Context, b *bench) error { return b.ceiling(ctx) }},
	)
}
