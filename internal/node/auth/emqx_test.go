package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// emqxWorld is a world whose auth answers EMQX as well, and what EMQX asks it by.
func emqxWorld(t *testing.T) (w *world, url string, client func(cert *tls.Certificate) *http.Client) {
	t.Helper()
	w = newWorld(t)
	w.cfg.Auth.EMQX = &contract.EMQXConfig{Address: free(t), TLS: writeTLS(t, w.dir, "emqx-server", w.ca.server(t), w.ca)}
	w.start()
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.cert)
	return w, "https://" + w.cfg.Auth.EMQX.Address + contract.EMQXPath, func(cert *tls.Certificate) *http.Client {
		c := &tls.Config{RootCAs: roots}
		if cert != nil {
			c.Certificates = []tls.Certificate{*cert}
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: c}, Timeout: 10 * time.Second}
	}
}

// The request and the answer are as EMQX documents them; who is let in, as whom and for which topics is what the auth callout says.
func TestEMQXIsAnsweredLikeTheBroker(t *testing.T) {
	w, url, client := emqxWorld(t)
	emqx := w.ca.client(t, contract.RoleURI(platform, contract.UserEMQX))
	ask := func(body any) emqxAnswer {
		t.Helper()
		raw, ok := body.(string)
		if !ok {
			encoded, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			raw = string(encoded)
		}
		var answer emqxAnswer
		await(t, "an answer", func() error {
			response, err := client(&emqx).Post(url, "application/json", strings.NewReader(raw))
			if err != nil {
				return err
			}
			defer response.Body.Close() //nolint:errcheck // a test
			said, err := io.ReadAll(response.Body)
			if err != nil {
				return err
			}
			if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %q: EMQX would take it for no answer, and ask the next authenticator", response.Status, response.Header.Get("Content-Type"))
			}
			decoder := json.NewDecoder(bytes.NewReader(said))
			decoder.DisallowUnknownFields()
			return decoder.Decode(&answer)
		})
		return answer
	}
	certificate := func(by ca, fleet, device string) string {
		cert := by.client(t, contract.DeviceURI(platform, fleet, device))
		return base64.StdEncoding.EncodeToString(cert.Certificate[0])
	}
	request := func(clientID, username, password, cert string) map[string]string {
		return map[string]string{"clientid": clientID, "username": username, "password": password, "cert": cert, "peerhost": "10.0.0.7", "zone": "default"}
	}
	for name, body := range map[string]map[string]string{
		"certificate":                        request("smoke_s1", "", "", certificate(w.cas["smoke"], "smoke", "s1")),
		"certificate, its username repeated": request("smoke_s1", "smoke.s1", "", certificate(w.cas["smoke"], "smoke", "s1")),
		"bound client id":                    request("IMEI-866123", "", "", certificate(w.cas["smoke"], "smoke", "s3")),
		"password":                           request("door_d1", "door.d1", door1, ""),
	} {
		a := ask(body)
		if a.Result != "allow" {
			t.Errorf("%s: %s", name, a.Result)
			continue
		}
		life := time.Until(time.Unix(a.ExpireAt, 0))
		if life > connectionLife || life < time.Duration((1-jitterShare)*float64(connectionLife))-time.Minute {
			t.Errorf("%s: lasts %s", name, life)
		}
		fleet, device, _ := strings.Cut(strings.Split(a.ClientAttrs["user"], "/")[0], ".")
		want := []emqxRule{
			{"allow", "publish", []int{0, 1}, topics(fleet, device, "telemetry", "signal", "state", "ack")},
			{"allow", "subscribe", []int{0}, topics(fleet, device, "cmd", "desired")},
			{"deny", "all", nil, []string{"#"}},
		}
		if !slices.EqualFunc(a.ACL, want, func(x, y emqxRule) bool {
			return x.Permission == y.Permission && x.Action == y.Action && slices.Equal(x.QoS, y.QoS) && slices.Equal(x.Topics, y.Topics)
		}) {
			t.Errorf("%s: rules %+v, want %+v", name, a.ACL, want)
		}
	}
	zone := request("smoke_s1", "", "", certificate(w.cas["smoke"], "smoke", "s1"))
	zone["zone"] = "internal"
	for name, body := range map[string]any{
		"nothing shown":              request("smoke_s1", "", "", ""),
		"another's client id":        request("smoke_s2", "", "", certificate(w.cas["smoke"], "smoke", "s1")),
		"another fleet's CA":         request("smoke_s1", "", "", certificate(w.cas["other"], "smoke", "s1")),
		"a device that is not there": request("smoke_s9", "", "", certificate(w.cas["smoke"], "smoke", "s9")),
		"wrong password":             request("door_d1", "door.d1", "wrong", ""),
		"two identities":             request("smoke_s1", "door.d1", door1, certificate(w.cas["smoke"], "smoke", "s1")),
		"a role of the platform":     request("grid", "", "", base64.StdEncoding.EncodeToString(w.ca.client(t, contract.RoleURI(platform, contract.UserGrid)).Certificate[0])),
		"no certificate at all":      request("smoke_s1", "", "", "bm90IGEgY2VydGlmaWNhdGU="),
		"no base64":                  request("smoke_s1", "", "", "%%%"),
		"the internal zone":          zone,
		"no JSON":                    "clientid=smoke_s1",
		"too long":                   `{"clientid":"` + strings.Repeat("x", emqxBody) + `"}`,
	} {
		if a := ask(body); a.Result != "deny" || len(a.ACL) > 0 || a.ExpireAt != 0 {
			t.Errorf("%s: %+v, want a refusal", name, a)
		}
	}

	// Who is not EMQX is not answered, whatever the platform's CA says.
	for name, cert := range map[string]*tls.Certificate{"nobody": nil, "the role grid": new(w.ca.client(t, contract.RoleURI(platform, contract.UserGrid))),
		"a device": new(w.cas["smoke"].client(t, contract.DeviceURI(platform, "smoke", "s1")))} {
		response, err := client(cert).Post(url, "application/json", strings.NewReader("{}"))
		if err == nil {
			_ = response.Body.Close()
			t.Errorf("%s was answered: %s", name, response.Status)
		}
	}

	// A row is taken away: the next CONNECT is refused.
	creds := w.creds["smoke"]
	delete(creds.Devices, "s1")
	w.publish()
	if a := ask(request("smoke_s1", "", "", certificate(w.cas["smoke"], "smoke", "s1"))); a.Result != "deny" {
		t.Errorf("a device whose row is gone: %s", a.Result)
	}
}

func topics(fleet, device string, channels ...string) []string {
	var out []string
	for _, c := range channels {
		out = append(out, "eq dizuo/v1/d/"+fleet+"/"+device+"/"+c)
	}
	return out
}
