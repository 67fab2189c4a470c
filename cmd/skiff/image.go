package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"encoding/json"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

func newImage(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Load and list the images of a cluster's nodes",
		Run:   func(cmd *cobra.Command, _ []string) { _ = cmd.Help() },
	}
	cmd.AddCommand(newImageLoad(streams), newImageList(streams))
	return cmd
}

func newImageLoad(streams genericiooptions.IOStreams) *cobra.Command {
	t := &target{}
	var nodes []string
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Load images from archives (docker save or OCI layout) into the nodes",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			return t.eachNode(cmd.Context(), nodes, func(client kubernetes.Interface, node string) error {
				for _, file := range files {
					if err := loadImages(cmd.Context(), client, node, file, streams.Out); err != nil {
						return fmt.Errorf("%s on %s: %w", file, node, err)
					}
				}
				return nil
			})
		},
	}
	t.addFlags(cmd.Flags())
	cmd.Flags().StringSliceVar(&nodes, "node", nil, "Only these nodes (default all)")
	return cmd
}

// loadImages streams an archive to a node, through the API server, and shows what the node says about it.
func loadImages(ctx context.Context, client kubernetes.Interface, node, file string, out io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	reply, err := client.CoreV1().RESTClient().Post().Resource("nodes").Name(node).SubResource("proxy").Suffix("images").
		SetHeader("Content-Type", "application/x-tar").Body(f).Stream(ctx)
	if err != nil {
		return err
	}
	defer reply.Close()
	lines := &prefixed{out: out, prefix: node + ": "}
	_, err = io.Copy(lines, reply)
	return err
}

// prefixed writes a word before each line.
type prefixed struct {
	out    io.Writer
	prefix string
	inLine bool
}

func (p *prefixed) Write(b []byte) (int, error) {
	for _, line := range strings.SplitAfter(string(b), "\n") {
		if line == "" {
			continue
		}
		if !p.inLine {
			line = p.prefix + line
		}
		p.inLine = !strings.HasSuffix(line, "\n")
		if _, err := io.WriteString(p.out, line); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func newImageList(streams genericiooptions.IOStreams) *cobra.Command {
	t := &target{}
	var nodes []string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the images that the nodes have",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(streams.Out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "NODE\tIMAGE\tID\tSIZE")
			err := t.eachNode(cmd.Context(), nodes, func(client kubernetes.Interface, node string) error {
				body, err := client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("images").DoRaw(cmd.Context())
				if err != nil {
					return fmt.Errorf("%s: %w", node, err)
				}
				return printImages(w, node, body)
			})
			return errors.Join(err, w.Flush())
		},
	}
	t.addFlags(cmd.Flags())
	cmd.Flags().StringSliceVar(&nodes, "node", nil, "Only these nodes (default all)")
	return cmd
}

// printImages shows the node agent's list.
func printImages(w io.Writer, node string, body []byte) error {
	var images []struct {
		ID    string   `json:"id"`
		Names []string `json:"names"`
		Size  int64    `json:"size"`
	}
	if err := json.Unmarshal(body, &images); err != nil {
		return fmt.Errorf("%s: %w", node, err)
	}
	for _, i := range images {
		id := strings.TrimPrefix(i.ID, "sha256:")
		for _, name := range i.Names {
			size := resource.NewQuantity(i.Size, resource.BinarySI)
			fmt.Fprintf(w, "%s\t%s\t%.12s\t%s\n", node, name, id, size)
		}
	}
	return nil
}

// eachNode does something for the named nodes, or all, one after the other.
func (t *target) eachNode(ctx context.Context, only []string, do func(kubernetes.Interface, string) error) error {
	c, err := t.open()
	if err != nil {
		return err
	}
	config, err := api(c)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if len(only) == 0 {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range list.Items {
			only = append(only, n.Name)
		}
	}
	var errs []error
	for _, node := range only {
		errs = append(errs, do(client, node))
	}
	return errors.Join(errs...)
}
