package house

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/cmd/internal/daemon"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// object is what of a manifest is looked at.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		ServiceName string `yaml:"serviceName"`
		Selector    any
		Ports       []struct{ Port int }
		Template    struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				ServiceAccountName string      `yaml:"serviceAccountName"`
				InitContainers     []container `yaml:"initContainers"`
				Containers         []container
				Volumes            []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
				}
			}
		}
		VolumeClaimTemplates []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
	}
}

type container struct {
	Name  string
	Args  []string
	Ports []struct {
		Name string
		Port int `yaml:"containerPort"`
	}
	VolumeMounts   []struct{ Name string } `yaml:"volumeMounts"`
	ReadinessProbe struct {
		HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
	} `yaml:"readinessProbe"`
}

func readManifests(t *testing.T) map[string]object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployDir, "kubernetes", "signet.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]object)
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[o.Kind+" "+o.Metadata.Name] = o
	}
}

// TestKubernetes looks for what does not fit together in deploy/kubernetes, and has a node join by what stands there, on a real Vault:
// the config of the ConfigMap, which reaches another Vault in another way, and the words of the init container.
func TestKubernetes(t *testing.T) {
	all := readManifests(t)
	set, config := all["StatefulSet signet"], all["ConfigMap signet"]
	pod := set.Spec.Template.Spec
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 {
		t.Fatalf("%d and %d containers", len(pod.InitContainers), len(pod.Containers))
	}
	join, serve := pod.InitContainers[0], pod.Containers[0]
	for _, name := range []string{"ServiceAccount " + pod.ServiceAccountName, "Service " + set.Spec.ServiceName, "PodDisruptionBudget signet", "Service signet"} {
		if _, ok := all[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}
	volumes := make(map[string]bool)
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if n := v.ConfigMap.Name; n != "" && n != config.Metadata.Name {
			t.Errorf("there is no ConfigMap %s", n)
		}
	}
	for _, v := range set.Spec.VolumeClaimTemplates {
		volumes[v.Metadata.Name] = true
	}
	for _, c := range []container{join, serve} {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: there is no volume %s", c.Name, m.Name)
			}
		}
	}
	template := config.Data["signetd.yaml"]
	for _, p := range serve.Ports {
		key := map[string]string{"grpc": "listen", "metrics": "metrics"}[p.Name]
		if !regexp.MustCompile(`(?m)^` + key + `: 0\.0\.0\.0:` + strconv.Itoa(p.Port) + `$`).MatchString(template) {
			t.Errorf("the port %s is %d, which is not what %s says", p.Name, p.Port, key)
		}
	}
	for _, name := range []string{"signet", "signet-nodes"} {
		if ports := all["Service "+name].Spec.Ports; len(ports) != 1 || ports[0].Port != serve.Ports[0].Port {
			t.Errorf("Service %s has the ports %v", name, ports)
		}
	}
	if !strings.Contains(flag(join.Args, "host"), "$(POD_NAME)."+set.Spec.ServiceName+".") {
		t.Errorf("a node is reached by %s, and the service is %s", flag(join.Args, "host"), set.Spec.ServiceName)
	}
	if flag(join.Args, "listen") != "0.0.0.0:"+strconv.Itoa(serve.Ports[0].Port) || flag(serve.Args, "config") != flag(join.Args, "dir")+"/signetd.yaml" {
		t.Errorf("%v and %v do not fit together", join.Args, serve.Args)
	}
	k := &cluster{t: t, dir: t.TempDir()}
	k.start()
	k.joins(template, join)
}

// cluster is a Vault that is set up, and a directory in which volumes and the first node lie.
type cluster struct {
	t   *testing.T
	dir string
	v   *vaultrun.Vault
}

func (k *cluster) start() {
	t := k.t
	var err error
	if k.v, err = vaultrun.Start(t.Context(), filepath.Join(k.dir, "hashicorp")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.v.Kill(); err != nil {
			t.Error(err)
		}
	})
	connection, err := k.v.SetUp(t.Context(), filepath.Join(k.dir, "secret-id"))
	if err != nil {
		t.Fatal(err)
	}
	k.write("vault.yaml", string(connection))
	k.ok("init", "--dir", filepath.Join(k.dir, "first"), "--vault", filepath.Join(k.dir, "vault.yaml"), "--node", "first", "--listen", "127.0.0.1:0")
}

// joins starts two pods, twice each.
func (k *cluster) joins(template string, join container) {
	t := k.t
	first, err := os.ReadFile(filepath.Join(k.dir, "first", "signetd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	k.write("token", k.v.Token)
	// What the cluster has otherwise than this machine.
	for old, here := range map[string]string{
		`(?m)^vault_id: .*$`:       string(regexp.MustCompile(`(?m)^vault_id: .*$`).Find(first)),
		`(?m)^  address: .*$`:      "  address: " + k.v.Address,
		`(?m)^  ca: .*$`:           "  ca: " + k.v.CA,
		`(?m)^    kubernetes: .*$`: "    token_file: " + filepath.Join(k.dir, "token"),
	} {
		re := regexp.MustCompile(old)
		if here == "" || len(re.FindAllString(template, -1)) != 1 {
			t.Fatalf("%q is not once in the config", old)
		}
		template = re.ReplaceAllLiteralString(template, here)
	}
	k.write("signetd.yaml", template)
	for _, pod := range []string{"signet-0", "signet-1"} {
		volume := filepath.Join(k.dir, "volume-"+pod)
		if err := os.Mkdir(volume, 0o700); err != nil {
			t.Fatal(err)
		}
		words := strings.NewReplacer("$(POD_NAME)", pod, "$(POD_NAMESPACE)", "signet", "$(NAME_SUFFIX)", "", "/etc/signet/", k.dir+"/", "/var/lib/signet/", volume+"/")
		args := make([]string, len(join.Args))
		for i, a := range join.Args {
			args[i] = words.Replace(a)
		}
		if said := k.ok(args...); !strings.Contains(said, "    - "+pod+".signet-nodes.signet.svc:7443\n") || strings.Contains(said, "warning") {
			t.Errorf("%s says %s", pod, said)
		}
		if said := k.ok(args...); !strings.Contains(said, "holds "+pod+" already") {
			t.Errorf("%s says, the second time: %s", pod, said)
		}
		k.ok("check", "--config", filepath.Join(volume, "vault", "signetd.yaml"))
		if _, err := client.LoadConfig(filepath.Join(volume, "vault", "operator", "client.yaml")); err != nil {
			t.Error(err)
		}
	}
}

// ok runs signetd in this process.
func (k *cluster) ok(args ...string) string {
	k.t.Helper()
	var out bytes.Buffer
	code := daemon.Run(k.t.Context(), cli.Env{Args: args, Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Now: time.Now, Version: "test"})
	if code != cli.OK {
		k.t.Fatalf("signetd %s: %d\n%s", strings.Join(args, " "), code, &out)
	}
	return out.String()
}

func (k *cluster) write(name, text string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, name), []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// flag is the first value of a flag that is written --name=value.
func flag(args []string, name string) string {
	for _, a := range args {
		if value, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}
