// A real browser without a window, whose pages report whatever goes wrong in them.
import { chromium } from 'playwright-core';
import { PATIENCE } from './lib.mjs';

const EXECUTABLE = '/usr/bin/chromium';
// As root there is no sandbox, and small machines have little shared memory.
const ARGUMENTS = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'];

/** Runs `scenario` with a way to make pages, and ends the browser whatever happens. */
export async function withBrowser(scenario) {
  const browser = await chromium.launch({ executablePath: EXECUTABLE, args: ARGUMENTS, timeout: 2 * PATIENCE });
  try {
    await scenario((options) => newPage(browser, options));
  } finally {
    await browser.close();
  }
}

async function newPage(browser, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  const hosts = new Set();
  const visit = (url) => URL.canParse(url) && new URL(url).host && hosts.add(new URL(url).host);
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => visit(request.url()));
  page.on('requestfailed', (request) => complaints.push(`request failed: ${request.url()}`));
  page.on('websocket', (socket) => visit(socket.url()));
  /** What went wrong so far, requests to hosts other than these included. */
  const faults = (...allowed) => [...complaints, ...[...hosts].filter((host) => !allowed.includes(host))];
  return { page, faults };
}
