package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"

	"k8s.io/client-go/tools/clientcmd"
)

type options struct {
	folder, kubeconfig, report string
	only                       *regexp.Regexp
	record                     bool
	workers                    int
}

func main() {
	var o options
	var only string
	flag.StringVar(&o.folder, "folder", "e2e/golden", "where this program's testdata are")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "ask that server instead of one of our own")
	flag.StringVar(&only, "only", "", "play the cases whose names match this regular expression; the ratchet is not held then")
	flag.StringVar(&o.report, "report", "bin/golden-report", "folder for the cases that differ")
	flag.BoolVar(&o.record, "record", false, "raise the figures of the ratchet to those of this run")
	flag.IntVar(&o.workers, "workers", 6, "cases at a time")
	flag.Parse()
	ok, err := false, error(nil)
	if o.only, err = regexp.Compile(only); err == nil {
		ok, err = o.run(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "golden:", err)
	}
	if !ok {
		os.Exit(1)
	}
}

// run plays the corpus and reports. It is not ok if a figure is below what was reached before.
func (o *options) run(w io.Writer) (ok bool, err error) {
	cases, err := readCases(filepath.Join(o.folder, corpusFile))
	if err != nil {
		return false, err
	}
	ratchetName := filepath.Join(o.folder, ratchetFile)
	reached, err := readRatchet(ratchetName)
	if err != nil {
		return false, err
	}
	t, stop, err := o.target()
	if err != nil {
		return false, err
	}
	defer func() {
		if bad := stop(); err == nil && bad != nil {
			ok, err = false, bad
		}
	}()

	partial := o.only.String() != ""
	if partial {
		cases, reached = matching(cases, o.only), ratchet{}
	}
	if len(cases) == 0 {
		return false, fmt.Errorf("no case matches %s", o.only)
	}
	verdicts, now, fell, rose := hold(t, cases, o.workers, reached, everything)
	tally(cases, verdicts).print(w)
	differing, err := writeReport(o.report, cases, verdicts)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(w, "%d of %d cases differ somewhere: %s\n", differing, len(cases), o.report)
	say(w, fell)
	if partial {
		return true, nil
	}
	if o.record {
		return len(fell) == 0, o.recordAll(reached, ratchetName, cases, verdicts, now)
	}
	if rose {
		fmt.Fprintln(w, "some figures have risen: --record keeps them")
	}
	return len(fell) == 0, nil
}

// recordAll records this round, and the part of it that is the tests' sample.
func (o *options) recordAll(r ratchet, name string, cases []*Case, verdicts map[*Case][]verdict, now counts) error {
	if err := r.record(name, everything, now); err != nil {
		return err
	}
	var part []*Case
	for _, c := range steady(cases) {
		if inSample(c) {
			part = append(part, c)
		}
	}
	return r.record(name, sample, tally(part, verdicts))
}

// target is the server of --kubeconfig, or one that is started here.
func (o *options) target() (t *target, stop func() error, err error) {
	if o.kubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
		if err != nil {
			return nil, nil, err
		}
		t, err := newTarget(config)
		return t, func() error { return nil }, err
	}
	a, err := serve(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return nil, nil, err
	}
	if t, err = newTarget(a.config); err != nil {
		return nil, nil, fmt.Errorf("%w; %w", err, a.stop())
	}
	return t, a.stop, nil
}
