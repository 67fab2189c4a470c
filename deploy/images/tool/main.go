// Command tool is what the end-to-end tests run in containers. It is all the image holds beside busybox.
//
//	tool serve    answers HTTP, TCP, UDP and gRPC health checks; says who it is; can be made unready, slow or dead
//	tool lookup   resolves names as any Go program in a pod does, and prints what it finds
//	tool eat      takes memory until it is stopped
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "tool", SilenceUsage: true}
	root.AddCommand(newServe(), newLookup(), newEat())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := root.ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}

func newLookup() *cobra.Command {
	srv := false
	cmd := &cobra.Command{
		Use: "lookup NAME...", Args: cobra.MinimumNArgs(1), Short: "Resolve names",
		RunE: func(cmd *cobra.Command, names []string) error {
			for _, name := range names {
				if srv {
					_, records, err := net.DefaultResolver.LookupSRV(cmd.Context(), "", "", name)
					if err != nil {
						return err
					}
					for _, r := range records {
						fmt.Printf("%s %s:%d\n", name, r.Target, r.Port)
					}
					continue
				}
				addrs, err := net.DefaultResolver.LookupHost(cmd.Context(), name)
				if err != nil {
					return err
				}
				slices.Sort(addrs)
				fmt.Println(name, strings.Join(addrs, " "))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&srv, "srv", false, "ask for SRV records")
	return cmd
}

func newEat() *cobra.Command {
	return &cobra.Command{
		Use: "eat MEGABYTES", Args: cobra.ExactArgs(1), Short: "Take memory, a megabyte at a time, and keep it",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return err
			}
			var held [][]byte
			for range n {
				b := make([]byte, 1<<20)
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
				held = append(held, b)
				time.Sleep(time.Millisecond)
			}
			fmt.Println("holding", len(held), "MB")
			<-cmd.Context().Done()
			return nil
		},
	}
}
