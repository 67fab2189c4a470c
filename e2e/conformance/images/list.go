package images

import (
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// image is one image to be: its layers, lowest first. Images that hold the same layer share it.
type image struct {
	name   string
	layers []layer
	config v1.Config
}

// inputs are the folders and roots that the list is made from.
type inputs struct {
	programs string // of package programs
	extras   string // with pause and web
	source   string // k8s.io/kubernetes/test/images
	debian   layer
	busybox  layer
}

const (
	tests      = "registry.k8s.io/e2e-test-images/"
	searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// list says what is in which image. Each has the name and tag that the suite asks for, whatever version is inside.
func list(in inputs) []image {
	program := func(name string) string { return filepath.Join(in.programs, name) }
	source := func(name string) string { return filepath.Join(in.source, name) }
	// alone is an image's only layer: one program, and what every program expects to find.
	alone := func(at, from string, mode int64) []layer {
		return []layer{layer{}.users().dir("tmp", 0o1777).program(at, from, mode)}
	}
	agnhost := layer{}.program("agnhost", program("agnhost"), 0o755).link("agnhost-2", "agnhost").
		program("localhost.crt", source("agnhost/porter/localhost.crt"), 0o644).
		program("localhost.key", source("agnhost/porter/localhost.key"), 0o644).dir("uploads", 0o755)
	// Two tags of one image would be one image: the tests that change a pod's image compare what runs.
	older := layer{}.text("etc/agnhost-version", "2.55\n")
	pet := func(name string) layer {
		return layer{}.program(name+".jpg", source(name+"/html/"+name+".jpg"), 0o644).
			program("data.json", source(name+"/html/data.json"), 0o644).
			// A test mounts the image as a volume and looks for this name.
			text("etc/os-release", "NAME=\"Alpine Linux\"\nID=alpine\nPRETTY_NAME=\"Alpine Linux (stand-in)\"\n")
	}
	run := func(entrypoint string, args ...string) v1.Config {
		return v1.Config{Env: []string{searchPath}, Entrypoint: []string{entrypoint}, Cmd: args, WorkingDir: "/"}
	}
	command := func(args ...string) v1.Config {
		return v1.Config{Env: []string{searchPath}, Cmd: args, WorkingDir: "/"}
	}
	pause := run("/pause")
	pause.User = "65535:65535"
	return []image{
		{tests + "agnhost:2.66.1", []layer{in.debian, agnhost}, run("/agnhost", "pause")},
		{tests + "agnhost:2.55", []layer{in.debian, agnhost, older}, run("/agnhost", "pause")},
		{tests + "busybox:1.37.0-2", []layer{in.busybox}, command("sh")},
		{tests + "glibc-dns-testing:2.1.1", []layer{in.debian}, command("bash")},
		{tests + "kitten:1.8", []layer{in.debian, agnhost, pet("kitten")}, run("/agnhost", "test-webserver")},
		{tests + "nautilus:1.8", []layer{in.debian, agnhost, pet("nautilus")}, run("/agnhost", "test-webserver")},
		{tests + "nginx:1.27.0-2", alone("usr/sbin/nginx", filepath.Join(in.extras, "web"), 0o755), command("nginx", "-g", "daemon off;")},
		// Set-uid root: the test is whether no_new_privs keeps that from working.
		{tests + "nonewprivs:1.4", alone("usr/local/bin/nnp", program("nonewprivs"), 0o4755), command("nnp")},
		{tests + "sample-apiserver:1.29.2", alone("sample-apiserver", program("sample-apiserver"), 0o755), run("/sample-apiserver")},
		{"registry.k8s.io/etcd:3.7.0-0", alone("usr/local/bin/etcd", program("etcd"), 0o755), command("etcd")},
		{"registry.k8s.io/pause:3.10.2", alone("pause", filepath.Join(in.extras, "pause"), 0o755), pause},
	}
}
