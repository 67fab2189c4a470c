// Command apiserver serves the Kubernetes API from an etcd inside it or elsewhere.
package main

import (
	"github.com/spf13/cobra"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/pkg/run"
)

func main() {
	config := apiserver.Defaults()
	cmd := &cobra.Command{
		Use:   "apiserver",
		Short: "Serve the Kubernetes API",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := apiserver.New(config)
			if err != nil {
				return err
			}
			return server.Run(cmd.Context())
		},
	}
	config.AddFlags(cmd.Flags())
	run.Main(cmd)
}
