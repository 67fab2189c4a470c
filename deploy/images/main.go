package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	from := flag.String("programs", "", "folder with coredns, web and tool, statically linked")
	busybox := flag.String("busybox", "/bin/busybox", "Debian's static busybox")
	out := flag.String("out", "", "folder to write the archives to")
	flag.Parse()
	if err := run(*from, *busybox, *out); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(from, busybox, out string) error {
	archives, err := describe(from, busybox)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for file, images := range archives {
		changed, err := write(filepath.Join(out, file), images)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, i := range images {
			fmt.Printf("%-12s %s%s\n", file, i.name, map[bool]string{true: "", false: " (unchanged)"}[changed])
		}
	}
	return nil
}

// describe says which archives hold which images, made of which layers. Images of one base share its layer.
func describe(from, busybox string) (map[string][]image, error) {
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", busybox, err)
	}
	program := func(name string) string { return filepath.Join(from, name) }
	base := newLayer().file("bin/busybox", busybox, 0o755).users().dir("tmp", 0o1777).dir("root", 0o700).dir("home", 0o755)
	for _, a := range strings.Fields(string(applets)) {
		base.link("bin/"+a, "busybox")
	}
	web := newLayer().file("usr/sbin/nginx", program("web"), 0o755).dir("usr/share/nginx/html", 0o755)
	tool := newLayer().file("tool", program("tool"), 0o755)
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	nginx := func(version string) image {
		return image{
			name: "docker.io/library/nginx:" + version, layers: []*layer{base, web},
			config: v1.Config{
				Env: []string{path, "NGINX_VERSION=" + version}, Cmd: []string{"nginx", "-g", "daemon off;"},
				ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGQUIT",
			},
		}
	}
	return map[string][]image{
		"coredns.tar": {{
			name:   "registry.k8s.io/coredns/coredns:v1.15.0",
			layers: []*layer{newLayer().users().dir("tmp", 0o1777).file("coredns", program("coredns"), 0o755)},
			config: v1.Config{Env: []string{path}, Entrypoint: []string{"/coredns"}, WorkingDir: "/"},
		}},
		"busybox.tar": {{
			name: "docker.io/library/busybox:1.36", layers: []*layer{base},
			config: v1.Config{Env: []string{path}, Cmd: []string{"sh"}},
		}},
		"nginx.tar": {nginx("1.7.9"), nginx("1.9.1")},
		"tool.tar": {{
			name: "ghcr.io/skiff-project/tool:v1", layers: []*layer{base, tool},
			config: v1.Config{Env: []string{path}, Entrypoint: []string{"/tool"}, Cmd: []string{"serve"}},
		}},
	}, nil
}

// write makes the archive, unless there is one of the same bytes: whoever looks at times sees no change then.
func write(file string, images []image) (changed bool, err error) {
	refs := map[name.Tag]v1.Image{}
	for _, i := range images {
		tag, err := name.NewTag(i.name)
		if err != nil {
			return false, err
		}
		if refs[tag], err = i.build(); err != nil {
			return false, fmt.Errorf("%s: %w", i.name, err)
		}
	}
	var body bytes.Buffer
	if err := tarball.MultiWrite(refs, &body); err != nil {
		return false, err
	}
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, body.Bytes()) {
		return false, nil
	}
	if err := os.WriteFile(file+".new", body.Bytes(), 0o644); err != nil {
		return false, err
	}
	return true, os.Rename(file+".new", file)
}
