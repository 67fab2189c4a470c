// Command scheduler gives pods a node. It takes kube-scheduler's place: flags carry its names.
package main

import (
	"github.com/spf13/cobra"

	"github.com/skiff-project/skiff/pkg/client"
	"github.com/skiff-project/skiff/pkg/health"
	"github.com/skiff-project/skiff/pkg/leader"
	"github.com/skiff-project/skiff/pkg/run"
	"github.com/skiff-project/skiff/scheduler"
)

func main() {
	run.Lean()
	api := client.Config{Component: "scheduler"}
	config := scheduler.Config{
		Leader: leader.Defaults("kube-scheduler"),
		Health: health.Config{BindAddress: "127.0.0.1", Port: 10259, Component: "kube-scheduler"},
	}
	cmd := &cobra.Command{
		Use:   "scheduler",
		Short: "Gives every pod without a node a node.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if config.API, err = client.Load(api); err != nil {
				return err
			}
			s, err := scheduler.New(config)
			if err != nil {
				return err
			}
			return s.Run(cmd.Context())
		},
	}
	api.AddFlags(cmd.Flags())
	config.Leader.AddFlags(cmd.Flags())
	config.Health.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&config.Name, "scheduler-name", "default-scheduler", "schedulerName of the pods to place")
	run.Main(cmd)
}
