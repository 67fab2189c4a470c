package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"
)

// backendCommand is what runs on the machine of the proxy benchmark: it greets who connects, and hangs up.
func backendCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backend", Short: "Answers connections, on a machine.", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := net.Listen("tcp4", fmt.Sprintf(":%d", backendPort))
			if err != nil {
				return err
			}
			for {
				c, err := l.Accept()
				if err != nil {
					return err
				}
				_, _ = c.Write([]byte("ok")) // who has gone already has no need of it
				c.Close()
			}
		},
	}
}
