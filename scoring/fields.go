package scoring

// FieldID names a field of [Event]. Ids are positions in [Fields] and mean nothing outside one build:
// snapshots and rows use names.
type FieldID uint8

// The fields, grouped by type so that an id tells where its value lies.
const (
	FieldEventID FieldID = iota
	FieldSource
	FieldKind
	FieldProvider
	FieldRegion
	FieldTenant
	FieldTenantSector
	FieldUser
	FieldActorType
	FieldAgent
	FieldAgentInstance
	FieldAgentName
	FieldAgentVersion
	FieldAgentFramework
	FieldAgentParent
	FieldAgentCharter
	FieldSession
	FieldTrace
	FieldCorrelation
	FieldCausation
	FieldTask
	FieldApprovalState
	FieldApprover
	FieldApprovalArgsHash
	FieldPolicyDecision
	FieldPrincipal
	FieldCredential
	FieldToolName
	FieldToolKind
	FieldToolCall
	FieldToolOp
	FieldToolTier
	FieldToolImpact
	FieldToolArgsHash
	FieldToolTarget
	FieldToolStatus
	FieldToolErrorType
	FieldToolServer
	FieldToolDefHash
	FieldToolDefPinned
	FieldToolArgs
	FieldExecCmd
	FieldRuntimeUser
	FieldPkgName
	FieldPkgVersion
	FieldPkgHash
	FieldPkgTrust
	FieldConfigArea
	FieldConfigChange
	FieldControlAction
	FieldLLMProvider
	FieldModelRequested
	FieldModelServed
	FieldDataLevel
	FieldDataConsent
	FieldExportBasis
	FieldResource
	FieldResourceTenant
	FieldDstHost
	FieldDstDomain
	FieldDstCountry
	FieldDstClass
	FieldNetAuth
	FieldTrust
	FieldArgOrigin
	FieldMemOp
	FieldMemStore
	FieldMemScope
	FieldGuardCategory
	FieldGuardVerdict
	FieldPeer
	FieldPeerDirection
	FieldPeerSimhash
	FieldAudience
	FieldVerification
	FieldOutSimhash
	FieldContent
	FieldOutcome
	FieldSeq
	FieldAgentDepth
	FieldMaxAmount
	FieldBudgetTokens
	FieldBlast
	FieldAmount
	FieldTokensIn
	FieldTokensOut
	FieldPISubjects
	FieldDstPort
	FieldBytesOut
	FieldBytesIn
	FieldSeqGap
	FieldApprovalLatency
	FieldApprovalAge
	FieldGuardScore
	FieldIntentMatch
	FieldTenantCII
	FieldRegistered
	FieldUserGranted
	FieldPlatformGranted
	FieldIrreversible
	FieldDryRun
	FieldThirdParty
	FieldPrivileged
	FieldPkgSigned
	FieldPI
	FieldSPI
	FieldMinors
	FieldCrossBorder
	FieldResourceShared
	FieldListen
	FieldExposed
	FieldMemTainted
	FieldInstructionLike
	FieldPeerRegistered
	FieldPeerAuthenticated
	FieldCarriesInstruction
	FieldLabelExplicit
	FieldLabelImplicit
	FieldClaimsSuccess
	FieldClaimsHuman
	FieldRequestsSecret
	FieldTruncated
	FieldIDReused
	FieldDeclaredTools
	FieldDataLevels
	FieldScopes
	FieldParentScopes
	FieldMounts
	FieldBehaviours
	FieldClasses
	FieldUntrustedArgs
	FieldSourceIDs
	FieldMissing

	numFields
)

const (
	firstString = FieldEventID
	firstInt    = FieldSeq
	firstMilli  = FieldApprovalLatency
	firstBool   = FieldTenantCII
	firstList   = FieldDeclaredTools

	numStrings = firstInt - firstString
	numInts    = firstBool - firstInt // plain and thousandths
	numBools   = firstList - firstBool
	numLists   = numFields - firstList
)

// Fields is the one table of what an event can say. The decoders, the expression environment, the columns of
// the verdicts table and the field reference are all made from it.
//
// Names and meaning follow the field proposal in CloudEvents, OpenTelemetry GenAI and OCSF terms.
var Fields = [numFields]Field{
	FieldEventID:            {Name: "id", Type: String, Column: "event_id", Max: 256, Doc: "id of the event, unique per source; a producer's retry repeats it"},
	FieldSource:             {Name: "source", Type: String, Column: "source", Max: 256, Doc: "feed that produced the event, a URI reference (CloudEvents source)"},
	FieldKind:               {Name: "kind", Type: String, Column: "kind", Aliases: []string{"type"}, Max: 64, Doc: "what happened: tool_call, tool_result, user_message, data_read, net_connect, code_exec, ..."},
	FieldProvider:           {Name: "provider.id", Type: String, Column: "provider", Aliases: []string{"provider"}, Max: 128, Doc: "cloud provider; must be the binding's provider"},
	FieldRegion:             {Name: "provider.region", Type: String, Column: "region", Aliases: []string{"region"}, Max: 128, Doc: "region of the provider"},
	FieldTenant:             {Name: "tenant.id", Type: String, Column: "tenant_id", Aliases: []string{"tenant_id"}, Max: 256, Doc: "customer of the provider, pseudonymous"},
	FieldTenantSector:       {Name: "tenant.sector", Type: String, Column: "tenant_sector", Max: 64, Doc: "finance, health, government, ..."},
	FieldUser:               {Name: "user.id", Type: String, Column: "user_id", Aliases: []string{"user_id"}, Max: 256, Doc: "human behind the task, pseudonymous"},
	FieldActorType:          {Name: "actor.type", Type: String, Column: "actor_type", Max: 32, Doc: "who performed the event: agent, human, service"},
	FieldAgent:              {Name: "agent.id", Type: String, Column: "agent_id", Aliases: []string{"agent_id"}, Max: 256, Doc: "stable logical agent id"},
	FieldAgentInstance:      {Name: "agent.instance", Type: String, Column: "agent_instance", Max: 256, Doc: "running instance"},
	FieldAgentName:          {Name: "agent.name", Type: String, Column: "agent_name", Max: 256, Doc: "display name"},
	FieldAgentVersion:       {Name: "agent.version", Type: String, Column: "agent_version", Max: 128, Doc: "code or configuration revision"},
	FieldAgentFramework:     {Name: "agent.framework", Type: String, Column: "agent_framework", Max: 64, Doc: "openclaw, langchain, native, ..."},
	FieldAgentParent:        {Name: "agent.parent_id", Type: String, Column: "agent_parent_id", Max: 256, Doc: "parent in a delegation"},
	FieldAgentCharter:       {Name: "agent.charter_hash", Type: String, Column: "agent_charter_hash", Max: 128, Doc: "hash of the role document or system prompt"},
	FieldSession:            {Name: "conversation.id", Type: String, Column: "session_id", Aliases: []string{"session_id"}, Max: 256, Doc: "conversation or run of one agent; the key of session features"},
	FieldTrace:              {Name: "trace.id", Type: String, Column: "trace_id", Aliases: []string{"trace_id"}, Max: 128, Doc: "W3C trace id"},
	FieldCorrelation:        {Name: "correlationid", Type: String, Column: "correlation_id", Max: 256, Doc: "whole user task or workflow"},
	FieldCausation:          {Name: "causationid", Type: String, Column: "causation_id", Max: 256, Doc: "id of the event that caused this one"},
	FieldTask:               {Name: "task.id", Type: String, Column: "task_id", Aliases: []string{"task_id"}, Max: 256, Doc: "user task or mandate"},
	FieldApprovalState:      {Name: "approval.state", Type: String, Column: "approval_state", Max: 32, Doc: "human decision: none, pending, approved, denied, expired"},
	FieldApprover:           {Name: "approval.approver", Type: String, Column: "approval_approver", Max: 256, Doc: "pseudonymous person who decided"},
	FieldApprovalArgsHash:   {Name: "approval.args_hash", Type: String, Column: "approval_args_hash", Max: 128, Doc: "hash of the arguments that were approved"},
	FieldPolicyDecision:     {Name: "policy.decision", Type: String, Column: "policy_decision", Max: 32, Doc: "enforcement at the provider: allow, deny, warn, modify, escalate"},
	FieldPrincipal:          {Name: "identity.principal", Type: String, Column: "identity_principal", Max: 256, Doc: "SPIFFE id, DID or role; required for side effects"},
	FieldCredential:         {Name: "identity.cred_id", Type: String, Column: "identity_cred_id", Max: 128, Doc: "fingerprint of the credential, never the secret"},
	FieldToolName:           {Name: "tool.name", Type: String, Column: "tool_name", Max: 256, Doc: "tool that was called"},
	FieldToolKind:           {Name: "tool.kind", Type: String, Column: "tool_kind", Max: 32, Doc: "function, extension, datastore"},
	FieldToolCall:           {Name: "tool.call_id", Type: String, Column: "tool_call_id", Max: 256, Doc: "id that joins a call and its result"},
	FieldToolOp:             {Name: "tool.op", Type: String, Column: "tool_op", Max: 32, Doc: "effect class: read, write, delete, exec, send, pay, publish, admin, install; derived from the name where absent"},
	FieldToolTier:           {Name: "tool.tier", Type: String, Column: "tool_tier", Max: 32, Doc: "decision tier: user_only, user_authorized, autonomous"},
	FieldToolImpact:         {Name: "tool.impact", Type: String, Column: "tool_impact", Max: 32, Doc: "impact class: low, medium, high, critical"},
	FieldToolArgsHash:       {Name: "tool.args_hash", Type: String, Column: "tool_args_hash", Max: 128, Doc: "hash of the canonical arguments; derived where absent"},
	FieldToolTarget:         {Name: "tool.target", Type: String, Column: "tool_target", Max: 512, Doc: "recipient or object, a hash or a domain"},
	FieldToolStatus:         {Name: "tool.status", Type: String, Column: "tool_status", Max: 32, Doc: "ok, error, not_found, timeout, blocked"},
	FieldToolErrorType:      {Name: "tool.error_type", Type: String, Column: "tool_error_type", Max: 128, Doc: "class of the error"},
	FieldToolServer:         {Name: "tool.server", Type: String, Column: "tool_server", Max: 256, Doc: "MCP server or plugin host"},
	FieldToolDefHash:        {Name: "tool.def_hash", Type: String, Column: "tool_def_hash", Max: 128, Doc: "hash of name, description and schema"},
	FieldToolDefPinned:      {Name: "tool.def_pinned", Type: String, Column: "tool_def_pinned", Max: 128, Doc: "approved hash"},
	FieldToolArgs:           {Name: "tool.args", Type: String, Column: "", Max: 65536, Doc: "arguments of the call as JSON text: content, never stored"},
	FieldExecCmd:            {Name: "exec.cmd", Type: String, Column: "", Max: 65536, Doc: "command line: content, never stored; derived from arguments where absent"},
	FieldRuntimeUser:        {Name: "runtime.user", Type: String, Column: "runtime_user", Max: 128, Doc: "operating system user"},
	FieldPkgName:            {Name: "pkg.name", Type: String, Column: "pkg_name", Max: 256, Doc: "skill, plugin or package"},
	FieldPkgVersion:         {Name: "pkg.version", Type: String, Column: "pkg_version", Max: 128, Doc: "its version"},
	FieldPkgHash:            {Name: "pkg.hash", Type: String, Column: "pkg_hash", Max: 128, Doc: "its hash"},
	FieldPkgTrust:           {Name: "pkg.source_trust", Type: String, Column: "pkg_source_trust", Max: 32, Doc: "catalogue status: verified, unverified, unknown"},
	FieldConfigArea:         {Name: "config.area", Type: String, Column: "config_area", Max: 64, Doc: "permissions, tools, guardrails, approval, logging, system_prompt"},
	FieldConfigChange:       {Name: "config.change", Type: String, Column: "config_change", Max: 64, Doc: "enable, disable, edit"},
	FieldControlAction:      {Name: "control.action", Type: String, Column: "control_action", Max: 32, Doc: "operator order: stop, suspend, resume"},
	FieldLLMProvider:        {Name: "llm.provider", Type: String, Column: "llm_provider", Max: 64, Doc: "inference provider"},
	FieldModelRequested:     {Name: "llm.model_requested", Type: String, Column: "llm_model_requested", Max: 128, Doc: "model asked for"},
	FieldModelServed:        {Name: "llm.model_served", Type: String, Column: "llm_model_served", Aliases: []string{"model"}, Max: 128, Doc: "model that answered"},
	FieldDataLevel:          {Name: "data.level", Type: String, Column: "data_level", Max: 32, Doc: "classification of the data touched: public, general, important, core"},
	FieldDataConsent:        {Name: "data.consent", Type: String, Column: "data_consent", Max: 32, Doc: "none, general, separate, guardian, statutory"},
	FieldExportBasis:        {Name: "data.export_basis", Type: String, Column: "data_export_basis", Max: 32, Doc: "legal mechanism of a transfer abroad"},
	FieldResource:           {Name: "resource.id", Type: String, Column: "resource_id", Max: 512, Doc: "object touched"},
	FieldResourceTenant:     {Name: "resource.tenant_id", Type: String, Column: "resource_tenant_id", Max: 256, Doc: "its owner"},
	FieldDstHost:            {Name: "net.dst_host", Type: String, Column: "net_dst_host", Max: 256, Doc: "peer host; derived from arguments where absent"},
	FieldDstDomain:          {Name: "net.dst_domain", Type: String, Column: "net_dst_domain", Max: 256, Doc: "registrable domain of the peer; derived where absent"},
	FieldDstCountry:         {Name: "net.dst_country", Type: String, Column: "net_dst_country", Max: 8, Doc: "ISO country of the peer"},
	FieldDstClass:           {Name: "net.dst_class", Type: String, Column: "net_dst_class", Max: 32, Doc: "internal, private, loopback, metadata, allowlisted, unlisted, new; derived where absent"},
	FieldNetAuth:            {Name: "net.auth", Type: String, Column: "net_auth", Max: 32, Doc: "authentication of the agent's own port: none, default, weak, strong"},
	FieldTrust:              {Name: "prov.trust", Type: String, Column: "prov_trust", Max: 32, Doc: "integrity of the content that led here: user, system, trusted, untrusted, unknown"},
	FieldArgOrigin:          {Name: "prov.arg_origin", Type: String, Column: "prov_arg_origin", Max: 32, Doc: "where the decisive argument came from"},
	FieldMemOp:              {Name: "mem.op", Type: String, Column: "mem_op", Max: 64, Doc: "memory operation"},
	FieldMemStore:           {Name: "mem.store", Type: String, Column: "mem_store", Max: 256, Doc: "memory store"},
	FieldMemScope:           {Name: "mem.scope", Type: String, Column: "mem_scope", Max: 32, Doc: "session, user, shared, global"},
	FieldGuardCategory:      {Name: "guard.category", Type: String, Column: "guard_category", Max: 64, Doc: "finding of the provider's guardrail"},
	FieldGuardVerdict:       {Name: "guard.verdict", Type: String, Column: "guard_verdict", Max: 32, Doc: "its verdict"},
	FieldPeer:               {Name: "a2a.peer_id", Type: String, Column: "a2a_peer_id", Max: 256, Doc: "peer agent"},
	FieldPeerDirection:      {Name: "a2a.direction", Type: String, Column: "a2a_direction", Max: 16, Doc: "in or out"},
	FieldPeerSimhash:        {Name: "a2a.msg_simhash", Type: String, Column: "a2a_msg_simhash", Max: 64, Doc: "near-duplicate hash of the message"},
	FieldAudience:           {Name: "out.audience", Type: String, Column: "out_audience", Max: 32, Doc: "who sees a publication"},
	FieldVerification:       {Name: "out.verification", Type: String, Column: "out_verification", Max: 32, Doc: "none, passed, failed"},
	FieldOutSimhash:         {Name: "out.simhash", Type: String, Column: "out_simhash", Max: 64, Doc: "near-duplicate hash of the output"},
	FieldContent:            {Name: "content", Type: String, Column: "", Max: 262144, Doc: "what was said or returned: content, never stored"},
	FieldOutcome:            {Name: "outcome", Type: String, Column: "outcome", Max: 32, Doc: "result of a tool as the agent saw it: ok, error"},
	FieldSeq:                {Name: "seq", Type: Int, Column: "seq", Aliases: []string{"sequence"}, Min: 0, Max: 9223372036854775807, Doc: "position in the source's feed"},
	FieldAgentDepth:         {Name: "agent.depth", Type: Int, Column: "agent_depth", Min: 0, Max: 65535, Doc: "0 is top level"},
	FieldMaxAmount:          {Name: "task.max_amount", Type: Int, Column: "task_max_amount", Min: 0, Max: 9223372036854775807, Doc: "payment mandate in fen"},
	FieldBudgetTokens:       {Name: "task.budget_tokens", Type: Int, Column: "task_budget_tokens", Min: 0, Max: 9223372036854775807, Doc: "token budget"},
	FieldBlast:              {Name: "tool.blast", Type: Int, Column: "tool_blast", Min: 0, Max: 9223372036854775807, Doc: "objects affected"},
	FieldAmount:             {Name: "tool.amount", Type: Int, Column: "tool_amount", Min: -9223372036854775808, Max: 9223372036854775807, Doc: "money moved in fen"},
	FieldTokensIn:           {Name: "llm.tokens_in", Type: Int, Column: "llm_tokens_in", Min: 0, Max: 4294967295, Doc: "tokens read"},
	FieldTokensOut:          {Name: "llm.tokens_out", Type: Int, Column: "llm_tokens_out", Min: 0, Max: 4294967295, Doc: "tokens written"},
	FieldPISubjects:         {Name: "data.pi_subjects", Type: Int, Column: "data_pi_subjects", Min: 0, Max: 9223372036854775807, Doc: "distinct data subjects"},
	FieldDstPort:            {Name: "net.dst_port", Type: Int, Column: "net_dst_port", Min: 0, Max: 65535, Doc: "peer port"},
	FieldBytesOut:           {Name: "net.bytes_out", Type: Int, Column: "net_bytes_out", Min: 0, Max: 9223372036854775807, Doc: "payload bytes sent"},
	FieldBytesIn:            {Name: "net.bytes_in", Type: Int, Column: "net_bytes_in", Min: 0, Max: 9223372036854775807, Doc: "payload bytes received"},
	FieldSeqGap:             {Name: "meta.seq_gap", Type: Int, Column: "meta_seq_gap", Min: 0, Max: 9223372036854775807, Doc: "events missing before this one, as the provider counted them"},
	FieldApprovalLatency:    {Name: "approval.latency_s", Type: Milli, Column: "approval_latency_s", Min: 0, Max: 9223372036854775, Doc: "request to decision, seconds"},
	FieldApprovalAge:        {Name: "approval.age_s", Type: Milli, Column: "approval_age_s", Min: 0, Max: 9223372036854775, Doc: "decision to execution, seconds"},
	FieldGuardScore:         {Name: "guard.score", Type: Milli, Column: "guard_score", Min: 0, Max: 1000, Doc: "confidence of the guardrail, 0 to 1"},
	FieldIntentMatch:        {Name: "prov.intent_match", Type: Milli, Column: "prov_intent_match", Min: -1000, Max: 1000, Doc: "similarity of step and task, 0 to 1; -1 unknown"},
	FieldTenantCII:          {Name: "tenant.cii", Type: Bool, Column: "tenant_cii", Doc: "operator of critical information infrastructure"},
	FieldRegistered:         {Name: "agent.registered", Type: Bool, Column: "agent_registered", Doc: "found in the agent registry; true when unknown"},
	FieldUserGranted:        {Name: "identity.user_granted", Type: Bool, Column: "identity_user_granted", Doc: "the user's authorisation is present"},
	FieldPlatformGranted:    {Name: "identity.platform_granted", Type: Bool, Column: "identity_platform_granted", Doc: "the third-party platform's authorisation is present"},
	FieldIrreversible:       {Name: "tool.irreversible", Type: Bool, Column: "tool_irreversible", Doc: "cannot be undone"},
	FieldDryRun:             {Name: "tool.dry_run", Type: Bool, Column: "tool_dry_run", Doc: "simulation only"},
	FieldThirdParty:         {Name: "tool.third_party_platform", Type: Bool, Column: "tool_third_party_platform", Doc: "drives somebody else's platform"},
	FieldPrivileged:         {Name: "runtime.privileged", Type: Bool, Column: "runtime_privileged", Doc: "privileged container"},
	FieldPkgSigned:          {Name: "pkg.signed", Type: Bool, Column: "pkg_signed", Doc: "signature valid"},
	FieldPI:                 {Name: "data.pi", Type: Bool, Column: "data_pi", Doc: "personal information"},
	FieldSPI:                {Name: "data.spi", Type: Bool, Column: "data_spi", Doc: "sensitive personal information"},
	FieldMinors:             {Name: "data.minors", Type: Bool, Column: "data_minors", Doc: "of people under fourteen"},
	FieldCrossBorder:        {Name: "data.cross_border", Type: Bool, Column: "data_cross_border", Doc: "leaves mainland China"},
	FieldResourceShared:     {Name: "resource.shared", Type: Bool, Column: "resource_shared", Doc: "shared on purpose"},
	FieldListen:             {Name: "net.listen", Type: Bool, Column: "net_listen", Doc: "the agent listens on a port"},
	FieldExposed:            {Name: "net.exposed", Type: Bool, Column: "net_exposed", Doc: "the port is reachable from the internet"},
	FieldMemTainted:         {Name: "prov.mem_tainted", Type: Bool, Column: "prov_mem_tainted", Doc: "memory record was written from untrusted content"},
	FieldInstructionLike:    {Name: "mem.instruction_like", Type: Bool, Column: "mem_instruction_like", Doc: "memory content reads like an instruction"},
	FieldPeerRegistered:     {Name: "a2a.peer_registered", Type: Bool, Column: "a2a_peer_registered", Doc: "peer is registered"},
	FieldPeerAuthenticated:  {Name: "a2a.authenticated", Type: Bool, Column: "a2a_authenticated", Doc: "peer is authenticated"},
	FieldCarriesInstruction: {Name: "a2a.carries_instruction", Type: Bool, Column: "a2a_carries_instruction", Doc: "message carries an instruction"},
	FieldLabelExplicit:      {Name: "out.label_explicit", Type: Bool, Column: "out_label_explicit", Doc: "visible AI label present"},
	FieldLabelImplicit:      {Name: "out.label_implicit", Type: Bool, Column: "out_label_implicit", Doc: "metadata AI label present"},
	FieldClaimsSuccess:      {Name: "out.claims_success", Type: Bool, Column: "out_claims_success", Doc: "the agent reports success"},
	FieldClaimsHuman:        {Name: "out.claims_human", Type: Bool, Column: "out_claims_human", Doc: "the agent claims to be human"},
	FieldRequestsSecret:     {Name: "out.requests_secret", Type: Bool, Column: "out_requests_secret", Doc: "the agent asks a person for a secret"},
	FieldTruncated:          {Name: "truncated", Type: Bool, Column: "truncated", Doc: "content was cut at the source"},
	FieldIDReused:           {Name: "meta.id_reused", Type: Bool, Column: "meta_id_reused", Doc: "the id was seen before with other content; set by the engine"},
	FieldDeclaredTools:      {Name: "task.declared_tools", Type: Strings, Column: "task_declared_tools", Max: 256, Doc: "manifest of the task; empty is not declared"},
	FieldDataLevels:         {Name: "task.data_levels", Type: Strings, Column: "task_data_levels", Max: 256, Doc: "data levels the task may touch"},
	FieldScopes:             {Name: "identity.scopes", Type: Strings, Column: "identity_scopes", Max: 256, Doc: "effective scopes"},
	FieldParentScopes:       {Name: "identity.parent_scopes", Type: Strings, Column: "identity_parent_scopes", Max: 256, Doc: "scopes of the parent agent"},
	FieldMounts:             {Name: "runtime.mounts", Type: Strings, Column: "runtime_mounts", Max: 256, Doc: "docker_socket, host_root, ..."},
	FieldBehaviours:         {Name: "pkg.behaviours", Type: Strings, Column: "pkg_behaviours", Max: 256, Doc: "download_zip, run_shell, ask_password, post_install_network"},
	FieldClasses:            {Name: "data.classes", Type: Strings, Column: "data_classes", Max: 256, Doc: "detector labels: phone, id_card, bank_card, medical, credential, private_key, token, cookie"},
	FieldUntrustedArgs:      {Name: "prov.untrusted_args", Type: Strings, Column: "prov_untrusted_args", Max: 256, Doc: "names of arguments whose value derives from untrusted content"},
	FieldSourceIDs:          {Name: "prov.source_ids", Type: Strings, Column: "prov_source_ids", Max: 256, Doc: "ids of the events whose content led here"},
	FieldMissing:            {Name: "meta.missing", Type: Strings, Column: "meta_missing", Max: 256, Doc: "mandatory fields that the provider says are missing"},
}
