package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// release is the Debian release that packages are taken from, whatever this machine runs: it has busybox 1.37, and
// everybody's images are alike.
const release = "trixie"

// packages are what the tests use inside agnhost and glibc-dns-testing, besides what busybox can stand in for.
var packages = []string{
	"bash", "dash", "coreutils", "grep", "sed", "findutils", "mawk", "netbase", "libc-bin",
	"curl", "bind9-dnsutils", "bind9-host", "netcat-openbsd", "iproute2", "util-linux", "mount",
}

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is Debian's package manager on a state of its own: what this machine has installed or configured plays no part.
type apt struct {
	dir     string // kept from one build to the next
	options []string
}

func newApt(dir string) (*apt, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(keyring); err != nil {
		return nil, fmt.Errorf("Debian's keys are missing (apt-get install debian-archive-keyring): %w", err)
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	var sources strings.Builder
	for _, kind := range []string{"deb", "deb-src"} {
		fmt.Fprintf(&sources, "%s [signed-by=%s] %s %s main\n", kind, keyring, mirror("/etc/apt"), release)
	}
	for name, body := range map[string]string{"sources.list": sources.String(), "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir}
	for key, value := range map[string]string{
		"Dir::Etc::sourcelist": dir + "/sources.list", "Dir::Etc::sourceparts": "/dev/null", "Dir::Etc::preferencesparts": "/dev/null",
		"Dir::State::lists": dir + "/lists", "Dir::State::status": dir + "/status", "Dir::Cache": dir + "/cache",
		"APT::Sandbox::User": "root", "APT::Architecture": runtime.GOARCH, "APT::Architectures": runtime.GOARCH,
		"Acquire::Retries": "3",
	} {
		a.options = append(a.options, "-o", key+"="+value)
	}
	return a, nil
}

var debianMirror = regexp.MustCompile(`https?://\S+/debian/?(\s|$)`)

// mirror is where this machine gets Debian's packages from, if it does, by its configuration in folder etc.
func mirror(etc string) string {
	files, _ := filepath.Glob(filepath.Join(etc, "sources.list.d", "*")) // only a bad pattern is an error
	for _, f := range append([]string{filepath.Join(etc, "sources.list")}, files...) {
		body, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(body), "\n") {
			if m := debianMirror.FindString(line); m != "" && !strings.HasPrefix(strings.TrimSpace(line), "#") {
				return strings.TrimSpace(m)
			}
		}
	}
	return "http://deb.debian.org/debian"
}

// get runs apt-get, in the given folder.
func (a *apt) get(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append(append([]string{}, a.options...), args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// download fetches the packages and all that they depend on, and returns their files.
func (a *apt) download(ctx context.Context, names []string) ([]string, error) {
	list := func() ([]string, error) { return filepath.Glob(filepath.Join(a.dir, "cache/archives/*.deb")) }
	complete := filepath.Join(a.dir, "cache", "complete")
	want := strings.Join(names, " ")
	if have, err := os.ReadFile(complete); err == nil && string(have) == want {
		return list()
	}
	// With a status file that is empty, "install" means: with all dependencies.
	args := append([]string{"install", "-y", "-qq", "--download-only", "--no-install-recommends"}, names...)
	if err := a.get(ctx, a.dir, args...); err != nil {
		return nil, err
	}
	if err := os.WriteFile(complete, []byte(want), 0o644); err != nil {
		return nil, err
	}
	return list()
}

// unwanted are parts of packages that no test looks at.
var unwanted = regexp.MustCompile(`^(usr/share/(doc|man|locale|info|lintian|bug|bash-completion|perl5|debconf|common-licenses|zsh|pam.*)|usr/lib/[^/]+/(gconv|perl.*|security)|etc/pam.*|usr/lib/systemd|var|boot|dev|proc|sys|run|home|media|mnt|opt|srv|tmp|root)(/|$)`)

// unpack adds the files of a package to a layer. No script of the package runs.
func unpack(ctx context.Context, deb string, into layer) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = readPackage(tar.NewReader(out), into)
	_, rest := io.Copy(io.Discard, out) // or the program would wait to be read
	if err := errors.Join(err, rest, cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(deb), err)
	}
	return nil
}

func readPackage(r *tar.Reader, into layer) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p := merged(h.Name)
		if p == "." || unwanted.MatchString(p) || slices.Contains(moved, p) {
			continue
		}
		f := file{Header: tar.Header{Typeflag: h.Typeflag, Mode: h.Mode, Linkname: h.Linkname, Uid: h.Uid, Gid: h.Gid}}
		switch h.Typeflag {
		case tar.TypeDir:
			if into.has(p) {
				continue
			}
		case tar.TypeLink:
			f.Linkname = merged(h.Linkname)
		case tar.TypeReg:
			if f.body, err = io.ReadAll(r); err != nil {
				return err
			}
		}
		into.put(p, f)
	}
}

// moved are folders that today are links into /usr.
var moved = []string{"bin", "sbin", "lib", "lib64"}

// merged is where a path lies on a system with these links.
func merged(p string) string {
	p = path.Clean(strings.TrimPrefix(strings.TrimPrefix(p, "."), "/"))
	if first, rest, ok := strings.Cut(p, "/"); ok && slices.Contains(moved, first) {
		return "usr/" + first + "/" + rest
	}
	return p
}

// debianRoot is a root file system of the packages. busybox, with its applets, stands in for what they have not.
func debianRoot(ctx context.Context, debs []string, busybox string, applets []string) (layer, error) {
	l := layer{}
	for _, d := range debs {
		if err := unpack(ctx, d, l); err != nil {
			return nil, err
		}
	}
	for _, d := range moved {
		l.dir("usr/"+d, 0o755).link(d, "usr/"+d)
	}
	// What the packages' scripts would have done.
	l.link("usr/bin/sh", "dash").link("usr/bin/awk", "mawk").link("usr/bin/nc", "nc.openbsd")
	l.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n")
	l.text("etc/os-release", "ID=debian\nNAME=\"Debian GNU/Linux\"\n")
	l.users().dir("tmp", 0o1777).dir("var/tmp", 0o1777).dir("root", 0o700).dir("run", 0o755)
	l.program("usr/bin/busybox", busybox, 0o755)
	for _, a := range applets {
		if !l.has("usr/bin/"+a) && !l.has("usr/sbin/"+a) {
			l.link("usr/bin/"+a, "busybox")
		}
	}
	for _, tool := range []string{"usr/bin/nc.openbsd", "usr/bin/dash", "usr/bin/mawk", "usr/bin/curl", "usr/bin/dig", "usr/bin/nslookup", "usr/bin/getent"} {
		if !l.has(tool) {
			return nil, fmt.Errorf("none of Debian's packages has %s", tool)
		}
	}
	return l, nil
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
	group  = "root:x:0:\nbin:x:1:\nnogroup:x:65534:\n"
)

func (l layer) users() layer { return l.text("etc/passwd", passwd).text("etc/group", group) }
