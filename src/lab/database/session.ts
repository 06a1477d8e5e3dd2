import net from 'node:net';
import { Client } from 'pg';
import type { LabLayout, Place } from '../layout.ts';
import { forwardPort } from '../layout.ts';
import { patientTimer } from '../patience.ts';

/** The account of the database service itself, as RDS has one; clients get `layout.databaseUser`. */
export const adminUser = 'rdsadmin';

export type Row = Readonly<Record<string, unknown>>;

/**
 * One connection to one server, seen from one place, opened when first needed and again after a failure. A question
 * that is not answered in time costs the connection: an answer that comes later belongs to nobody.
 */
export interface Session {
  query(text: string, timeoutMs: number): Promise<readonly Row[]>;
  close(): void;
}

interface Opened {
  readonly client: Client;
  readonly socket: net.Socket;
}

const open = (layout: LabLayout, port: number, database: string): Opened => {
  const socket = new net.Socket();
  const client = new Client({
    host: '127.0.0.1',
    port,
    user: adminUser,
    password: layout.token,
    database,
    application_name: 'control',
    stream: () => socket,
  });
  client.on('error', () => {
    // The connection broke while idle: the next question finds out and opens another.
  });
  return { client, socket };
};

export const openSession = (layout: LabLayout, source: Place, endpoint: string, database = 'postgres'): Session => {
  const port = forwardPort(layout, source, endpoint);
  let current: { readonly opened: Opened; readonly ready: Promise<unknown> } | undefined;
  const close = (): void => {
    current?.opened.socket.destroy();
    current = undefined;
  };
  return {
    async query(text, timeoutMs) {
      if (current?.opened.socket.destroyed || current?.opened.socket.readableEnded) close();
      const opened = current?.opened ?? open(layout, port, database);
      const mine = current ?? { opened, ready: opened.client.connect() };
      current = mine;
      const timer = patientTimer(timeoutMs, () =>
        opened.socket.destroy(new Error(`no answer from ${endpoint} in ${Math.round(timeoutMs)} ms`)),
      );
      try {
        await mine.ready;
        const result = await opened.client.query<Row>(text);
        return result.rows;
      } catch (error) {
        // An error the server itself reports leaves the connection usable; anything else does not.
        if (!(error instanceof Error && 'severity' in error && error.severity === 'ERROR')) {
          opened.socket.destroy();
          if (current === mine) current = undefined;
        }
        throw error;
      } finally {
        timer.cancel();
      }
    },
    close,
  };
};
