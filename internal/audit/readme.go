package audit

// readme lies in every archive.
const readme = `# Who read what under one agreement (某一共享协议的读取记录)

excerpt.json says which agreement and which time. log/ holds every line of that time from every gateway; the record of a line is here
if it is of the agreement, so that nothing of others is told and nothing of this one can be left out unseen. No line holds the data itself.
excerpt.json 写明协议与时间段；log/ 为该时段全部日志行，仅本协议的行带有内容；日志从不包含数据本身。

1. Is it whole? (完整性)

       dizuo audit verify FILE.tar.gz --witness URL --witness-key KEY --trust audit-keys.pem

   Exit code 0: whole, and the witness saw it. 5: consistent in itself only. 1: something was changed, cut off or kept back.
   Take the keys from the witness and from the platform's publication, not from here. Hold the UIDs that it prints against metadata.uid
   of the agreement.

2. Was it decided by the rules? (决策复核)

       dizuo audit replay FILE.tar.gz --opa opa --bundle-keys bundle-keys.pem

   or by hand for one request, with opa (https://www.openpolicyagent.org) alone; PART are the files in policy/ that the line's record
   names (policy.access, policy.grants), bundle-keys.pem is your own, KID the hex SHA-256 of its key (DER). The first command checks the signature:

       opa run --server --addr 127.0.0.1:8181 --bundle policy/PART --verification-key bundle-keys.pem --verification-key-id KID &
       opa eval -f pretty --bundle policy/PART --input replay/REQUEST.input.json data.dizuo.access.decision
       cat replay/REQUEST.expected.json
`
