package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/skiff-project/skiff/pkg/machine"
)

// ownKubeconfig gives the verb a --kubeconfig of its own, which hides kubectl's: here it is a file to be written.
func ownKubeconfig(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "kubeconfig", "", "File to write the cluster's context into (default $KUBECONFIG's first, or ~/.kube/config)")
}

func (u *up) kubeconfigFile() string {
	file := u.kubeconfig
	if file == "" {
		file = clientcmd.NewDefaultPathOptions().GetDefaultFilename()
		if list := filepath.SplitList(os.Getenv(clientcmd.RecommendedConfigPathEnvVar)); len(list) > 0 && list[0] != "" {
			file = list[0]
		}
	}
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// addContext merges the cluster into a kubeconfig, makes its context current and returns which was.
func addContext(file string, own *clientcmdapi.Config) (previous string, err error) {
	err = change(file, func(config *clientcmdapi.Config) {
		previous = config.CurrentContext
		for name := range own.Contexts {
			config.Clusters[name] = own.Clusters[name]
			config.AuthInfos[name] = own.AuthInfos[name]
			config.Contexts[name] = own.Contexts[name]
		}
		config.CurrentContext = own.CurrentContext
	})
	if previous == own.CurrentContext {
		previous = ""
	}
	return previous, err
}

// removeContext takes the cluster out of the kubeconfig that `up` put it into. If its context is still current, the
// one before becomes current again. A file that this leaves empty goes.
func removeContext(c *machine.Cluster) {
	r, err := readRecord(c)
	if err != nil || r.Kubeconfig == "" {
		return
	}
	if _, err := os.Stat(r.Kubeconfig); err != nil {
		return
	}
	name := "skiff-" + c.Name()
	_ = change(r.Kubeconfig, func(config *clientcmdapi.Config) {
		delete(config.Clusters, name)
		delete(config.AuthInfos, name)
		delete(config.Contexts, name)
		if config.CurrentContext == name {
			config.CurrentContext = ""
			if _, ok := config.Contexts[r.Previous]; ok {
				config.CurrentContext = r.Previous
			}
		}
	})
}

// change rewrites a kubeconfig under the lock file that kubectl takes too, so that neither loses the other's change.
// Readers see the old file or the new one; it is readable by its owner alone.
func change(file string, edit func(*clientcmdapi.Config)) error {
	// A link is followed, lest it be replaced by a file.
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	unlock, err := lockFile(file + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	config, err := clientcmd.LoadFromFile(file)
	if errors.Is(err, os.ErrNotExist) {
		config, err = clientcmdapi.NewConfig(), nil
	}
	if err != nil {
		return err
	}
	edit(config)
	if len(config.Clusters)+len(config.AuthInfos)+len(config.Contexts) == 0 {
		if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	body, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".kubeconfig") // 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(body)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return os.Rename(tmp.Name(), file)
}

// lockFile takes the lock that client-go uses: whoever creates the file has it.
func lockFile(path string) (unlock func(), err error) {
	for deadline := time.Now().Add(5 * time.Second); ; {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { _ = os.Remove(path) }, nil
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, errors.New("another program holds " + path + "; remove it if none does")
		}
		time.Sleep(20 * time.Millisecond)
	}
}
