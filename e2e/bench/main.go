package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

// options are the flags.
type options struct {
	skiff, upstream string
	pods, rounds    int
	writers         int
	json            string
}

func main() {
	var o options
	cmd := &cobra.Command{
		Use: "bench", Short: "Measures the API server beside upstream's.", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.skiff, "skiff", "bin", "folder with Skiff's apiserver")
	f.StringVar(&o.upstream, "upstream", "", "folder with upstream's kube-apiserver and etcd; empty: Skiff alone, on its embedded etcd")
	f.IntVar(&o.pods, "pods", 5000, "objects")
	f.IntVar(&o.writers, "writers", 32, "requests under way at once")
	f.IntVar(&o.rounds, "rounds", 3, "rounds, of which the median is told")
	f.StringVar(&o.json, "json", "", "write the figures to this file too")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func (o *options) run(ctx context.Context) error {
	candidates := []candidate{{name: "skiff", binary: filepath.Join(o.skiff, "apiserver")}}
	if o.upstream != "" {
		candidates[0].etcd = filepath.Join(o.upstream, "etcd")
		candidates = append([]candidate{{name: "upstream", binary: filepath.Join(o.upstream, "kube-apiserver"), etcd: filepath.Join(o.upstream, "etcd")}}, candidates...)
	}
	results := map[string]map[string][]float64{} // work, candidate, figure of each round
	for round := range o.rounds {
		for _, c := range candidates {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, o.rounds, c.name)
			if err := o.round(ctx, c, results); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	o.print(candidates, results)
	if o.json == "" {
		return nil
	}
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, b, 0o644)
}

// round starts one server, does all the work once and stops the server.
func (o *options) round(ctx context.Context, c candidate, results map[string]map[string][]float64) error {
	s, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	l := &load{server: s, pods: o.pods, writers: o.writers}
	for _, w := range works {
		value, err := w.run(ctx, l)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if results[w.name] == nil {
			results[w.name] = map[string][]float64{}
		}
		results[w.name][c.name] = append(results[w.name][c.name], value)
		fmt.Fprintf(os.Stderr, "  %-42s %12s %s\n", w.name, number(value), w.unit)
	}
	return nil
}

// print writes the table of medians.
func (o *options) print(candidates []candidate, results map[string]map[string][]float64) {
	fmt.Printf("| %d pods, %d requests at once, median of %d |", o.pods, o.writers, o.rounds)
	for _, c := range candidates {
		fmt.Printf(" %s |", c.name)
	}
	if len(candidates) == 2 {
		fmt.Print(" ratio |")
	}
	fmt.Print("\n|---|")
	for range len(candidates) + len(candidates)/2 {
		fmt.Print("---:|")
	}
	fmt.Println()
	for _, w := range works {
		fmt.Printf("| %s, %s |", w.name, w.unit)
		var medians []float64
		for _, c := range candidates {
			m := median(results[w.name][c.name])
			medians = append(medians, m)
			fmt.Printf(" %s |", number(m))
		}
		if len(medians) == 2 && medians[0] > 0 && medians[1] > 0 {
			better := medians[1] / medians[0]
			if w.lessIsBetter {
				better = 1 / better
			}
			fmt.Printf(" %.1fx |", better)
		}
		fmt.Println()
	}
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}

func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}
