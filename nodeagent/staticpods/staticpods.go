// Package staticpods reads pods from a folder of manifests on the node: those run whether there is an API server or not, which is
// how a control plane can run as pods.
package staticpods

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// Annotations of static pods, as the kubelet names them.
const (
	SourceAnnotation = "kubernetes.io/config.source"
	HashAnnotation   = "kubernetes.io/config.hash"
	seenAnnotation   = "kubernetes.io/config.seen"
)

// Read reads all pods of a folder. A file that is wrong is told and left out; the others count.
func Read(dir, node string) ([]*corev1.Pod, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	var errs []error
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" && ext != ".json" && ext != ".manifest" {
			continue
		}
		pod, err := readFile(filepath.Join(dir, e.Name()), node)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		pods = append(pods, pod)
	}
	return pods, errors.Join(errs...)
}

func readFile(path, node string) (*corev1.Pod, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(data, path, node)
}

// Parse makes a static pod of a manifest. Its UID follows from content and place: a changed manifest is another pod.
func Parse(data []byte, path, node string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if pod.Kind != "Pod" || pod.Name == "" || len(pod.Spec.Containers) == 0 {
		return nil, fmt.Errorf("%s: not a manifest of a pod with a name and containers", path)
	}
	hash := md5.New()
	fmt.Fprintf(hash, "%s\x00%s\x00%s\x00", node, path, data)
	sum := hex.EncodeToString(hash.Sum(nil))
	if pod.UID == "" {
		pod.UID = types.UID(sum)
	}
	if pod.Namespace == "" {
		pod.Namespace = corev1.NamespaceDefault
	}
	pod.Name = pod.Name + "-" + strings.ToLower(node)
	pod.Spec.NodeName = node
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[SourceAnnotation], pod.Annotations[HashAnnotation] = "file", sum
	pod.Annotations[seenAnnotation] = time.Now().Format(time.RFC3339Nano)
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	defaults(pod)
	return pod, nil
}

// rescan is how often the folder is read although nothing was heard of it: some file systems tell nothing.
const rescan = 20 * time.Second

// Watch calls update with the pods of a folder, at once and whenever they have changed, until ctx ends.
func Watch(ctx context.Context, dir, node string, log *slog.Logger, update func([]*corev1.Pod)) {
	watcher, err := fsnotify.NewWatcher()
	var events chan fsnotify.Event
	if err == nil {
		defer watcher.Close()
		if err = watcher.Add(dir); err == nil {
			events = watcher.Events
		}
	}
	if err != nil {
		log.Warn("manifests are not watched, only read from time to time", "dir", dir, "err", err)
	}
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	for {
		pods, err := Read(dir, node)
		if err != nil {
			log.Error("manifests not read completely", "dir", dir, "err", err)
		}
		update(pods)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-events:
			settle(ctx, events)
		}
	}
}

// settle waits until a folder has been left alone for a moment: an editor writes a file in several steps.
func settle(ctx context.Context, events <-chan fsnotify.Event) {
	quiet := time.NewTimer(100 * time.Millisecond)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-quiet.C:
			return
		case <-events:
			quiet.Reset(100 * time.Millisecond)
		}
	}
}
