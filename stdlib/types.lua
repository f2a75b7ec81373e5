--!strict
-- @std/types: the types of what a charm is given. It has no functions.

export type ExecOptions = {
  [number]: any,
  env: { [string]: any }?,
  stdin: any?,
  cwd: string?,
  user: string?,
  timeout: number?,
  check: boolean?,
  shell: string?,
  quiet: boolean?,
}

export type ExecResult = { code: number, timed_out: boolean, stdout: string, stderr: string }

export type WriteOptions = { mode: string?, user: string?, group: string? }

export type FileInfo = { kind: string, mode: string, size: number, uid: number, gid: number }

-- What a unit and the machine of `prepare` have in common.
export type Machine = {
  exec: (Machine, ExecOptions) -> ExecResult,
  read: (Machine, string) -> string?,
  write: (Machine, string, any, WriteOptions?) -> boolean,
  remove: (Machine, string) -> boolean,
  exists: (Machine, string) -> boolean,
  stat: (Machine, string) -> FileInfo?,
  file: (Machine, string) -> string,
  push: (Machine, string, string, WriteOptions?) -> boolean,
  set_status: (Machine, string, string?) -> (),
  log: (Machine, string, string?) -> (),
}

return {}
