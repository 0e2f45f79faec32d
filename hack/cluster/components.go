// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Ports are not the usual ones where another program of the machine may hold those.
const (
	etcdURL      = "https://127.0.0.1:12379"
	etcdPeerURL  = "http://127.0.0.1:12380"
	apiServerURL = "https://" + nodeIP + ":6443"
)

func etcdProcess(l Layout) process {
	pki := l.State("pki")
	return process{
		Name: "etcd", KeyName: "etcd",
		Argv: []string{l.Tool("etcd"), "--name=local", "--data-dir=" + l.State("etcd"),
			"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=" + etcdPeerURL, "--initial-advertise-peer-urls=" + etcdPeerURL, "--initial-cluster=local=" + etcdPeerURL,
			"--cert-file=" + pki + "/etcd.crt", "--key-file=" + pki + "/etcd.key",
			"--client-cert-auth", "--trusted-ca-file=" + pki + "/ca.crt",
			"--unsafe-no-fsync", "--auto-compaction-retention=1h", "--log-level=warn"},
		Inputs: []string{pki + "/etcd.crt"},
		Ready:  getOK(l, etcdURL+"/health"),
	}
}

func apiserverProcess(l Layout) process {
	pki := l.State("pki")
	return process{
		Name: "kube-apiserver", KeyName: "kube-apiserver",
		Argv: []string{l.Tool("kube-apiserver"),
			"--bind-address=" + nodeIP, "--advertise-address=" + nodeIP, "--secure-port=6443",
			"--etcd-servers=" + etcdURL, "--etcd-cafile=" + pki + "/ca.crt",
			"--etcd-certfile=" + pki + "/apiserver-etcd.crt", "--etcd-keyfile=" + pki + "/apiserver-etcd.key",
			"--tls-cert-file=" + pki + "/apiserver.crt", "--tls-private-key-file=" + pki + "/apiserver.key",
			"--client-ca-file=" + pki + "/ca.crt", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--service-cluster-ip-range=" + serviceCIDR,
			"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
			"--service-account-key-file=" + pki + "/service-account.pub", "--service-account-signing-key-file=" + pki + "/service-account.key",
			"--kubelet-client-certificate=" + pki + "/apiserver-kubelet.crt", "--kubelet-client-key=" + pki + "/apiserver-kubelet.key",
			"--kubelet-certificate-authority=" + pki + "/ca.crt", "--kubelet-preferred-address-types=InternalIP",
			"--requestheader-client-ca-file=" + pki + "/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client",
			"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file=" + pki + "/front-proxy-client.crt", "--proxy-client-key-file=" + pki + "/front-proxy-client.key",
			"--profiling=false"},
		Inputs: []string{pki + "/apiserver.crt", pki + "/ca.crt"},
		Ready:  getOK(l, apiServerURL+"/readyz"),
	}
}

func controllerManagerProcess(l Layout) process {
	pki, config := l.State("pki"), l.State("config", "controller-manager.conf")
	return process{
		Name: "kube-controller-manager", KeyName: "kube-controller-manager",
		Argv: []string{l.Tool("kube-controller-manager"),
			"--bind-address=127.0.0.1", "--secure-port=10257", "--kubeconfig=" + config, "--leader-elect=false",
			"--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--allocate-node-cidrs", "--cluster-cidr=" + podCIDR, "--service-cluster-ip-range=" + serviceCIDR,
			"--cluster-signing-cert-file=" + pki + "/ca.crt", "--cluster-signing-key-file=" + pki + "/ca.key",
			"--root-ca-file=" + pki + "/ca.crt", "--service-account-private-key-file=" + pki + "/service-account.key",
			"--use-service-account-credentials", "--profiling=false"},
		Inputs: []string{config},
		Ready:  getOK(l, "https://127.0.0.1:10257/healthz"),
	}
}

func schedulerProcess(l Layout) process {
	config := l.State("config", "scheduler.conf")
	return process{
		Name: "kube-scheduler", KeyName: "kube-scheduler",
		Argv: []string{l.Tool("kube-scheduler"),
			"--bind-address=127.0.0.1", "--secure-port=10259", "--kubeconfig=" + config, "--leader-elect=false",
			"--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config, "--profiling=false"},
		Inputs: []string{config},
		Ready:  getOK(l, "https://127.0.0.1:10259/healthz"),
	}
}

func containerdProcess(l Layout) process {
	config := l.State("config", "containerd.toml")
	return process{
		Name:   "containerd",
		Argv:   []string{needNamed("containerd").find(), "--config", config, "--log-level", "warn"},
		Inputs: []string{config},
		Ready:  func(ctx context.Context) error { return ctr(ctx, l, "version") },
	}
}

func kubeletProcess(l Layout) process {
	config, kubeconfig := l.State("config", "kubelet.yaml"), l.State("config", "kubelet-kubeconfig.conf")
	return process{
		Name: "kubelet", KeyName: "kubelet",
		Argv: []string{l.Tool("kubelet"), "--config=" + config, "--kubeconfig=" + kubeconfig,
			"--root-dir=" + l.State("kubelet"), "--cert-dir=" + l.State("kubelet", "pki"),
			"--hostname-override=" + nodeName, "--node-ip=" + nodeIP},
		Inputs: []string{config, kubeconfig, l.State("pki", "kubelet-serving.crt")},
		Ready:  getOK(l, "http://127.0.0.1:10248/healthz"),
	}
}

func kubeProxyProcess(l Layout) process {
	config := l.State("config", "kube-proxy.yaml")
	return process{
		Name: "kube-proxy", KeyName: "kube-proxy",
		Argv:   []string{l.Tool("kube-proxy"), "--config=" + config, "--hostname-override=" + nodeName},
		Inputs: []string{config, l.State("config", "kube-proxy-kubeconfig.conf")},
		Ready:  getOK(l, "http://127.0.0.1:10256/healthz"),
	}
}

const containerdFormat = `version = 2
root = "%[1]s/containerd"
state = "%[1]s/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "%[1]s/run/containerd.sock"
[ttrpc]
  address = "%[1]s/run/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pauseImage + `"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[2]s"
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "%[3]s"
        Root = "%[1]s/run/runc"
        SystemdCgroup = false
`

const kubeletFormat = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ` + nodeIP + `
port: 10250
healthzBindAddress: 127.0.0.1
readOnlyPort: 0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: "%[1]s/pki/ca.crt"}
authorization: {mode: Webhook}
tlsCertFile: "%[1]s/pki/kubelet-serving.crt"
tlsPrivateKeyFile: "%[1]s/pki/kubelet-serving.key"
containerRuntimeEndpoint: "unix://%[1]s/run/containerd.sock"
clusterDNS: [` + dnsServiceIP + `]
clusterDomain: ` + clusterDomain + `
resolvConf: "%[1]s/config/resolv.conf"
podLogsDir: "%[1]s/pod-logs"
volumePluginDir: "%[1]s/kubelet/volume-plugins"
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
maxPods: 110
serializeImagePulls: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "100Mi", nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%"}
featureGates: {KubeletInUserNamespace: true}
`

const kubeProxyFormat = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: "%[1]s/config/kube-proxy-kubeconfig.conf"}
clusterCIDR: ` + podCIDR + `
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nodePortAddresses: ["` + nodeIP + `/32"]
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`

// writeConfigs writes what containerd, the kubelet and kube-proxy read at their start.
func writeConfigs(l Layout) error {
	state := l.State()
	runc := needNamed("runc").find()
	cniBin := filepath.Dir(needNamed("containernetworking-plugins").find())
	resolv, _, err := podResolvConf("/etc/resolv.conf")
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"containerd.toml": fmt.Sprintf(containerdFormat, state, cniBin, runc),
		"kubelet.yaml":    fmt.Sprintf(kubeletFormat, state),
		"kube-proxy.yaml": fmt.Sprintf(kubeProxyFormat, state),
		"resolv.conf":     resolv,
	} {
		if err := writeIfChanged(l.State("config", name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// getOK is a readiness check: an HTTP GET as administrator that must answer 200.
func getOK(l Layout, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		client, err := adminClient(l)
		if err != nil {
			return permanent{err}
		}
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return permanent{err}
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return nil
	}
}

// adminClient trusts the cluster's authority. Controller manager and scheduler serve with certificates they made
// themselves, on loopback, so for loopback the server is not verified.
func adminClient(l Layout) (*http.Client, error) {
	pki := l.State("pki")
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error { return verifyUnlessLoopback(cs, roots) }}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}, nil
}

func verifyUnlessLoopback(cs tls.ConnectionState, roots *x509.CertPool) error {
	if cs.ServerName == "127.0.0.1" || cs.ServerName == "" {
		return nil
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: cs.ServerName})
	return err
}
