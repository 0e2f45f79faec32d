package broker

import (
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/dizuo/dizuo/internal/contract"
)

// user is one of the platform's own users: what it may publish and subscribe to, and nothing else.
type user struct {
	name, account string
	publish       []string
	subscribe     []string
	// responds lets the user answer requests that reach it.
	responds bool
}

const (
	leaseStream  = "KV_" + contract.LeaseBucket
	reportStream = "KV_" + contract.ReportBucket
	bundleStream = "OBJ_" + contract.BundleStore
)

// users lists them all.
func users() []user {
	return []user{
		{name: contract.UserAuth, account: contract.AccountAuth, subscribe: []string{server.AuthCalloutSubject}, responds: true},
		{name: contract.UserAuthSystem, account: contract.AccountSystem, publish: []string{
			"$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.CONNZ", "$SYS.REQ.SERVER.*.KICK"}},
		{name: contract.UserAuthBundle, account: contract.AccountDevices, publish: join(readBundles(), writeReport(contract.RoleAuth), writeReport(contract.RoleEdge), keepEnrolled(),
			answerEdges(contract.EdgeLease)), subscribe: join([]string{contract.SubjectIngest}, edgeSubjects(edgeOfAuth()...))},
		{name: contract.UserGateway, account: contract.AccountDevices, publish: join(readBundles(), writeReport(contract.RoleGateway))},
		{name: contract.UserVault, account: contract.AccountDevices, publish: join(readBundles(), writeReport(contract.RoleVault))},
		{name: contract.UserGrid, account: contract.AccountDevices,
			publish: join(readBundles(), writeReport(contract.RoleGrid), readIngest(), deviceSubjects("", contract.DownChannels()), []string{"dizuo.v1.c.>", contract.OrganizationSubject("*", contract.OrganizationCases)}, answerEdges(contract.EdgeCommand)),
			// QoS 0 messages are in no stream: the grid service hears them as they come.
			subscribe: join([]string{"dizuo.v1.d.>", contract.PlatformSubject("*", contract.PlatformUp), contract.OrganizationSubject("*", contract.OrganizationAcks)}, edgeSubjects(edgeOfGrid()...))},
		{name: contract.UserIngest, account: contract.AccountDevices, publish: join(deviceSubjects("", contract.UpChannels()),
			deviceSubjects(contract.IngestPrefix, contract.UpChannels()), []string{contract.SubjectIngest},
			[]string{contract.PlatformSubject("*", contract.PlatformUp), contract.IngestPrefix + contract.PlatformSubject("*", contract.PlatformUp)},
			// It lets clouds in by their credentials, and says since when.
			readBundles(), writeReport(contract.RoleIngest)),
			subscribe: append(deviceSubjects("", contract.DownChannels()), contract.PlatformSubject("*", contract.PlatformDown))},
		{name: contract.UserOperator, account: contract.AccountDevices,
			publish: join(readBundles(), readReports(), []string{
				"$KV." + contract.LeaseBucket + ".>",
				"$O." + contract.BundleStore + ".>",
				// Old objects are deleted by purging their chunks.
				"$JS.API.STREAM.PURGE." + bundleStream})},
	}
}

// permissions in the server's terms. A user subscribes to its own inbox always.
func (u user) permissions() *server.Permissions {
	p := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: u.publish},
		Subscribe: &server.SubjectPermission{Allow: append([]string{contract.InboxPrefix(u.name) + ".>"}, u.subscribe...)},
	}
	if len(u.publish) == 0 { // an empty list would allow everything
		p.Publish = &server.SubjectPermission{Deny: []string{">"}}
	}
	if u.responds {
		p.Publish = &server.SubjectPermission{Allow: []string{}}
		p.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: time.Minute}
	}
	return p
}

// readBundles is what reading leases and bundles takes: key-value watch and object get.
func readBundles() []string { return join(readStream(leaseStream), readStream(bundleStream)) }

func readReports() []string { return readStream(reportStream) }

// readStream allows ordered consumers and direct gets on a stream. A consumer may be deleted by name, but the names are
// random and may not be listed.
func readStream(stream string) []string {
	return []string{
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.STREAM.MSG.GET." + stream,
		"$JS.API.DIRECT.GET." + stream, "$JS.API.DIRECT.GET." + stream + ".>",
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.FC." + stream + ".>",
	}
}

// writeReport allows to write the reports of a role: its own, and what auth hears of edge nodes, which write none themselves.
func writeReport(r contract.Role) []string {
	return []string{"$JS.API.STREAM.INFO." + reportStream, "$KV." + contract.ReportBucket + "." + string(r) + ".*"}
}

// keepEnrolled allows to read and write who was enrolled.
func keepEnrolled() []string {
	return append(readStream("KV_"+contract.EnrolledBucket), "$KV."+contract.EnrolledBucket+".>")
}

// readIngest allows one durable consumer on the ingest log, over what devices sent.
func readIngest() []string {
	s, c := contract.IngestStream, contract.IngestConsumer
	return []string{
		"$JS.API.STREAM.INFO." + s,
		"$JS.API.CONSUMER.CREATE." + s + "." + c + "." + contract.IngestFilter,
		"$JS.API.CONSUMER.INFO." + s + "." + c,
		"$JS.API.CONSUMER.MSG.NEXT." + s + "." + c,
		"$JS.ACK." + s + "." + c + ".>",
		// A session begins by making its consumer anew behind what the database holds.
		"$JS.API.CONSUMER.DELETE." + s + "." + c,
	}
}

// deviceSubjects are those of every device, on some channels.
func deviceSubjects(prefix string, channels []contract.Channel) []string {
	var out []string
	for _, c := range channels {
		out = append(out, prefix+contract.DeviceSubject("*", "*", c))
	}
	return out
}

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
